"""OCPP 2.0.1 block M, and the contract certificates of block C: what stations hold, what cars bring."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.x509 import ocsp
from pki_world import Ca, Pool, Responder, hash_data, pem, serving
from securing import World, secured
from wire import Payload, Station201, at, token, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMAID = "INTSTC12345678"


class Iso(World):
    """With a root of contract certificates, a sub-authority, an OCSP responder and a pool."""

    mo_root: Ca
    mo_sub: Ca
    responder: Responder
    pool: Pool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Iso]:
    folder = tmp_path_factory.mktemp("iso15118")
    root = Ca("MO Root")
    sub = Ca("MO Sub", above=root)
    (folder / "mo.pem").write_text(root.pem)
    responder, pool = Responder(sub), Pool()
    async with (
        serving(responder, pool),
        secured(
            folder,
            contract_ca=str(folder / "mo.pem"),
            ev_certificate_url=pool.url,
            ocsp_private_hosts=["127.0.0.1"],
            ocsp_timeout_s=2,
        ) as made,
    ):
        iso: Iso = made  # type: ignore[assignment]
        iso.mo_root, iso.mo_sub, iso.responder, iso.pool = root, sub, responder, pool
        await token(made.server, EMAID, type="eMAID")
        yield iso


# -- installing


@pytest.mark.parametrize(
    "use",
    [
        pytest.param("CSMSRootCertificate", marks=pytest.mark.case("2.0.1 TC_M_01"), id="m_01"),
        pytest.param("ManufacturerRootCertificate", marks=pytest.mark.case("2.0.1 TC_M_02"), id="m_02"),
        pytest.param("V2GRootCertificate", marks=pytest.mark.case("2.0.1 TC_M_03"), id="m_03"),
        pytest.param("MORootCertificate", marks=pytest.mark.case("2.0.1 TC_M_04"), id="m_04"),
    ],
)
async def test_m_01_to_04_a_root_is_installed(world: Iso, use: str) -> None:
    root = Ca("A new root")
    async with Station201(world.server, f"M01-{use}") as cs:
        await cs.boot()
        cs.table["InstallCertificate"] = {"status": "Accepted"}
        path = f"/api/v1/chargers/{cs.id}/certificates"
        assert await world.server.api("POST", path, {"use": use, "pem": root.pem}) == {"status": "Accepted"}
        assert cs.questions("InstallCertificate") == [{"certificateType": use, "certificate": root.pem}]
        held = await world.certificate(cs.id, "held", "installed")
        assert (held["use"], held["hash_data"]) == (use, hash_data(root.certificate, root.certificate))


@pytest.mark.case("2.0.1 TC_M_05")
@pytest.mark.parametrize("status", ["Failed", "Rejected"])
async def test_m_05_installing_fails(world: Iso, status: str) -> None:
    async with Station201(world.server, f"M05-{status}") as cs:
        await cs.boot()
        cs.table["InstallCertificate"] = {"status": status}
        body = {"use": "CSMSRootCertificate", "pem": Ca("Unwanted").pem}
        path = f"/api/v1/chargers/{cs.id}/certificates"
        assert await world.server.api("POST", path, body) == {"status": status}
        assert await cs.is_served()
        assert await world.certificates(cs.id) == []


# -- listing and deleting


def chain_of(use: str, root: Ca, *below: Ca) -> Payload:
    told: Payload = {"certificateType": use, "certificateHashData": hash_data(root.certificate, root.certificate)}
    if below:
        told["childCertificateHashData"] = [hash_data(one.certificate, root.certificate) for one in below]
    return told


@pytest.mark.parametrize(
    "use",
    [
        pytest.param("ManufacturerRootCertificate", marks=pytest.mark.case("2.0.1 TC_M_13"), id="m_13"),
        pytest.param("V2GRootCertificate", marks=pytest.mark.case("2.0.1 TC_M_14"), id="m_14"),
        pytest.param("V2GCertificateChain", marks=pytest.mark.case("2.0.1 TC_M_15"), id="m_15"),
        pytest.param("MORootCertificate", marks=pytest.mark.case("2.0.1 TC_M_16"), id="m_16"),
    ],
)
async def test_m_13_to_16_certificates_of_one_type_are_listed(world: Iso, use: str) -> None:
    root = Ca("Listed")
    below = [Ca("Below", above=root)] if use == "V2GCertificateChain" else []
    async with Station201(world.server, f"M13-{use}") as cs:
        await cs.boot()
        told = {"status": "Accepted", "certificateHashDataChain": [chain_of(use, root, *below)]}
        cs.table["GetInstalledCertificateIds"] = told
        path = f"/api/v1/chargers/{cs.id}/certificates/read"
        assert await world.server.api("POST", path, {"uses": [use]}) == {"statuses": {use: "Accepted"}}
        assert cs.questions("GetInstalledCertificateIds") == [{"certificateType": [use]}]

        wanted = [hash_data(one.certificate, root.certificate) for one in (root, *below)]

        async def listed() -> list[Payload]:
            found = [one for one in await world.certificates(cs.id) if one["state"] == "held"]
            return found if len(found) == len(wanted) else []

        found = await until(listed)
        assert {one["use"] for one in found} == {use}
        told = [one["hash_data"] for one in found]
        assert all(one in told for one in wanted)


@pytest.mark.case("2.0.1 TC_M_18", "2.0.1 TC_M_19")
async def test_m_18_and_19_all_types_are_listed_and_none_found(world: Iso) -> None:
    csms, maker = Ca("CSMS"), Ca("Maker")
    async with Station201(world.server, "M18") as cs:
        await cs.boot()
        chains = [chain_of("CSMSRootCertificate", csms), chain_of("ManufacturerRootCertificate", maker)]
        cs.table["GetInstalledCertificateIds"] = {"status": "Accepted", "certificateHashDataChain": chains}
        path = "/api/v1/chargers/M18/certificates/read"
        assert await world.server.api("POST", path, {}) == {"statuses": {"all": "Accepted"}}
        assert cs.questions("GetInstalledCertificateIds") == [{}]

        async def uses(state: str) -> set[str]:
            return {one["use"] for one in await world.certificates("M18") if one["state"] == state}

        async def both() -> bool:
            return await uses("held") == {"CSMSRootCertificate", "ManufacturerRootCertificate"}

        assert await until(both)
        cs.table["GetInstalledCertificateIds"] = {"status": "NotFound"}
        asked = {"uses": ["ManufacturerRootCertificate"]}
        said = {"statuses": {"ManufacturerRootCertificate": "NotFound"}}
        assert await world.server.api("POST", path, asked) == said

        async def one_is_gone() -> bool:
            return await uses("gone") == {"ManufacturerRootCertificate"}

        assert await until(one_is_gone)
        assert await uses("held") == {"CSMSRootCertificate"}  # nobody asked for these


@pytest.mark.parametrize(
    ("status", "left"),
    [
        pytest.param("Accepted", "gone", marks=pytest.mark.case("2.0.1 TC_M_20"), id="m_20"),
        pytest.param("Failed", "held", marks=pytest.mark.case("2.0.1 TC_M_21"), id="m_21"),
    ],
)
async def test_m_20_and_21_a_certificate_is_deleted_by_the_hashes_just_listed(
    world: Iso, status: str, left: str
) -> None:
    root = Ca("To be deleted")
    data = hash_data(root.certificate, root.certificate, "SHA384")  # the station's algorithm is used (M04.FR.07)
    async with Station201(world.server, f"M20-{status}") as cs:
        await cs.boot()
        chain = {"certificateType": "V2GRootCertificate", "certificateHashData": data}
        cs.table["GetInstalledCertificateIds"] = {"status": "Accepted", "certificateHashDataChain": [chain]}
        cs.table["DeleteCertificate"] = {"status": status}
        path = f"/api/v1/chargers/{cs.id}/certificates"
        await world.server.api("POST", f"{path}/read", {})
        held = await world.certificate(cs.id, "held", "installed")
        assert await world.server.api("DELETE", f"{path}/{held['id']}") == {"status": status}
        assert cs.questions("DeleteCertificate") == [{"certificateHashData": data}]
        assert (await world.certificate(cs.id, left, "installed"))["id"] == held["id"]


# -- OCSP


def question(world: Iso, serial: int, **more: str) -> Payload:
    """OCSPRequestData about a contract certificate of the sub-authority."""
    issuer = world.mo_sub.certificate
    data = hash_data(issuer, issuer) | {"serialNumber": format(serial, "x"), "responderURL": world.responder.url}
    return data | more


@pytest.mark.case("2.0.1 TC_M_24")
async def test_m_24_the_station_asks_whether_a_certificate_is_good(world: Iso) -> None:
    async with Station201(world.server, "M24") as cs:
        await cs.boot()
        answer = await cs.ask("GetCertificateStatus", {"ocspRequestData": question(world, 2401)})
        assert answer["status"] == "Accepted"
        told = ocsp.load_der_ocsp_response(base64.b64decode(answer["ocspResult"]))
        assert (told.serial_number, told.certificate_status) == (2401, ocsp.OCSPCertStatus.GOOD)
        # Asked again soon, the responder is left alone.
        assert await cs.ask("GetCertificateStatus", {"ocspRequestData": question(world, 2401)}) == answer
        assert world.responder.asked.count(2401) == 1


async def test_a_responder_that_must_not_be_asked_or_does_not_answer_is_a_failure_and_holds_up_nobody(
    world: Iso,
) -> None:
    async with Station201(world.server, "NO-OCSP") as cs:
        await cs.boot()
        unlisted = [world.responder.url.replace("127.0.0.1", name) for name in ("localhost", "[::ffff:127.0.0.1]")]
        # What one reader of addresses takes for a strange name is 127.0.0.1 to the next one.
        hosts = ("127\u30020\u30020\u30021", "\u246027.0.0.1", "somebody@127.0.0.1", "somewhere\\@127.0.0.1")
        disguised = [world.responder.url.replace("127.0.0.1", host) for host in hosts]
        for where in (*unlisted, *disguised, "http://10.1.2.3/ocsp", "file:///etc/passwd", "http://[", "nonsense"):
            asked = {"ocspRequestData": question(world, 2402, responderURL=where)}
            assert (await cs.ask("GetCertificateStatus", asked))["status"] == "Failed"
        asked = {"ocspRequestData": question(world, 2403, issuerKeyHash="zz")}
        assert (await cs.ask("GetCertificateStatus", asked))["status"] == "Failed"
        world.responder.broken = True
        try:
            asked = {"ocspRequestData": question(world, 2404)}
            assert (await cs.ask("GetCertificateStatus", asked))["status"] == "Failed"
        finally:
            world.responder.broken = False
        assert await cs.is_served()
    assert not {2402, 2403} & set(world.responder.asked)


class Tarpit:
    """A responder that keeps everybody waiting; `most` waited at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.url = ""

    async def answer(self, incoming: web.Request) -> web.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.2)
        finally:
            self.now -= 1
        return web.Response(status=500)


async def test_a_station_that_asks_and_asks_has_a_few_questions_open_at_others(world: Iso) -> None:
    tarpit = Tarpit()
    async with serving(tarpit), Station201(world.server, "MANY-OCSP") as cs:
        await cs.boot()
        asked = ({"ocspRequestData": question(world, number, responderURL=tarpit.url)} for number in range(1, 61))
        said = await asyncio.gather(*(cs.ask("GetCertificateStatus", one) for one in asked))
        assert {one["status"] for one in said} == {"Failed"}
        assert await cs.is_served()
    assert 1 < tarpit.most <= 8


# -- contract certificates


async def authorize(cs: Station201, emaid: str = EMAID, **more: object) -> tuple[str, str]:
    """(idTokenInfo.status, certificateStatus)"""
    answer = await cs.ask("Authorize", {"idToken": {"idToken": emaid, "type": "eMAID"}, **more})
    return answer["idTokenInfo"]["status"], answer["certificateStatus"]


@pytest.mark.case("2.0.1 TC_C_50", "2.0.1 TC_C_51")
async def test_c_50_and_51_a_contract_certificate_the_station_has_checked(world: Iso) -> None:
    async with Station201(world.server, "C50") as cs:
        await cs.boot()
        good = [question(world, 5001), question(world, 5002)]
        assert await authorize(cs, iso15118CertificateHashData=good) == ("Accepted", "Accepted")
        assert {5001, 5002} <= set(world.responder.asked)
        world.responder.revoked.add(5003)
        bad = [question(world, 5001), question(world, 5003)]
        assert await authorize(cs, iso15118CertificateHashData=bad) == ("Invalid", "CertificateRevoked")
        silent = [question(world, 5004, responderURL="http://10.1.2.3/ocsp")]
        assert await authorize(cs, iso15118CertificateHashData=silent) == ("Invalid", "CertChainError")
        # A good certificate does not make a token good.
        await token(world.server, "INTSTCBLOCKED", "Blocked", type="eMAID")
        assert await authorize(cs, "INTSTCBLOCKED", iso15118CertificateHashData=good) == (
            "Blocked",
            "ContractCancelled",
        )


@pytest.mark.case("2.0.1 TC_C_52")
async def test_c_52_a_contract_certificate_is_checked_by_us(world: Iso) -> None:
    root, sub = world.mo_root, world.mo_sub
    good = sub.issue(EMAID, responder=world.responder.url)
    async with Station201(world.server, "C52") as cs:
        await cs.boot()
        chain = pem(good.certificate, sub.certificate)
        assert await authorize(cs, certificate=chain) == ("Accepted", "Accepted")
        assert good.certificate.serial_number in world.responder.asked
        # The same id with its separators.
        await token(world.server, "IN-TST-C12345678", type="eMAID")
        assert await authorize(cs, "IN-TST-C12345678", certificate=chain) == ("Accepted", "Accepted")

        revoked = sub.issue(EMAID, responder=world.responder.url)
        world.responder.revoked.add(revoked.certificate.serial_number)
        foreign_root = Ca("Foreign MO Root")
        forged_sub = Ca("MO Sub")  # the same name, another key
        wrong = [
            (pem(revoked.certificate, sub.certificate), "CertificateRevoked"),
            (pem(sub.issue(EMAID, days=(-3, -1)).certificate, sub.certificate), "CertificateExpired"),
            (pem(foreign_root.issue(EMAID).certificate, foreign_root.certificate), "CertChainError"),
            (pem(forged_sub.issue(EMAID).certificate, sub.certificate), "SignatureError"),
            (pem(good.certificate), "CertChainError"),  # its issuer is missing
            (pem(sub.issue("INTSTC99999999").certificate, sub.certificate), "CertChainError"),  # somebody else's
            ("nonsense", "CertChainError"),
        ]
        for certificate, word in wrong:
            assert await authorize(cs, certificate=certificate) == ("Invalid", word)
        # A contract certificate must not be an authority: its own "issue" is worth nothing.
        below = Ca("Never", above=root)
        below.key, below.certificate = good.key, good.certificate
        usurped = pem(below.issue(EMAID).certificate, good.certificate, sub.certificate)
        assert (await authorize(cs, certificate=usurped))[0] == "Invalid"
        assert await cs.is_served()


# -- contract certificates for cars


@pytest.mark.parametrize(
    "action",
    [
        pytest.param("Install", marks=pytest.mark.case("2.0.1 TC_M_26"), id="m_26"),
        pytest.param("Update", marks=pytest.mark.case("2.0.1 TC_M_28"), id="m_28"),
    ],
)
async def test_m_26_and_28_a_car_gets_its_contract_certificate(world: Iso, action: str) -> None:
    exi = base64.b64encode(f"{action} at {at()}".encode()).decode()
    asked = {"iso15118SchemaVersion": "urn:iso:15118:2:2013:MsgDef", "action": action, "exiRequest": exi}
    async with Station201(world.server, f"M26-{action}") as cs:
        await cs.boot()
        answer = await cs.ask("Get15118EVCertificate", asked)
        assert answer["status"] == "Accepted"
        assert json.loads(base64.b64decode(answer["exiResponse"])) == exi
        assert world.pool.asked[-1] == asked
        world.pool.status = "Failed"
        try:
            assert (await cs.ask("Get15118EVCertificate", asked))["status"] == "Failed"
        finally:
            world.pool.status = "Accepted"
        assert await cs.is_served()
