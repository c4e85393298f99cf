"""OCPP 1.6 with the security white paper: profiles, TLS, certificates. Charger and server over real sockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from cryptography import x509
from pki_world import Ca, Issued, ec_key, hash_data, request
from pki_world import pem as pem_of
from securing import PASSWORD, World, is_let_in, old_tls, secured, status_of_refusal
from wire import Payload, Station, Station16, answered, at, charger, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A00.FR.318, as OpenSSL calls them, and with which of the two certificates.
SUITES = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
]
UP_TO_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with secured(tmp_path_factory.mktemp("security16"), relic_port=0) as made:
        yield made


def event(kind: str) -> Payload:
    return {"type": kind, "timestamp": at()}


# -- who gets in


@pytest.mark.case("1.6 TC_085")
async def test_tc_085_basic_authentication_right_and_wrong(world: World) -> None:
    await world.add("TC085", 1)
    assert await is_let_in(Station16(world.server, "TC085", password=PASSWORD))
    wrong = [
        ({"password": "a-wrong-password-001"}, "The password is wrong."),
        ({}, "This charger must give its Basic credentials."),
        ({"password": PASSWORD, "user": "OTHER"}, "The Basic user name is not the charger's identity."),
    ]
    for brought, why in wrong:
        cp = Station16(world.server, "TC085", **brought)
        assert await status_of_refusal(cp) == 401
        assert await world.reason(cp) == why
    # One profile per connection: the right password over TLS is another profile.
    assert await status_of_refusal(Station16(world.server, "TC085", password=PASSWORD, tls=world.client())) == 403


@pytest.mark.case("1.6 TC_086")
@pytest.mark.parametrize("suite", SUITES)
async def test_tc_086_tls_with_each_suite(world: World, suite: str) -> None:
    cp = Station16(world.server, f"TC086-{suite}", password=PASSWORD)
    await world.add(cp.id, 2)
    cp.tls = world.client(ciphers=suite, versions=UP_TO_12)
    async with cp:
        assert cp.cipher == suite
        assert (await cp.boot())["status"] == "Accepted"
        assert await cp.is_served()
    cp.password = "a-wrong-password-001"
    assert await status_of_refusal(cp) == 401
    # Without TLS the password is not even looked at.
    assert await status_of_refusal(Station16(world.server, cp.id, password=PASSWORD)) == 403


async def test_tls_that_is_too_weak_comes_to_nothing_and_says_why(world: World) -> None:
    await world.add("WEAK", 2)
    cp = Station16(world.server, "WEAK", password=PASSWORD, tls=old_tls(world))
    assert "too old" in await world.ended_in_tls(cp)
    cp.tls = world.client(ciphers="AES128-SHA:@SECLEVEL=0", versions=UP_TO_12)
    assert "no cipher suite" in await world.ended_in_tls(cp)
    cp.tls = world.client()
    assert await is_let_in(cp)


async def test_a_relic_has_a_door_of_its_own(world: World) -> None:
    await world.add("RELIC", 2, quirks=["tls_relic"])
    await world.add("MODERN", 2)
    old = old_tls(world)
    assert await is_let_in(Station16(world.server, "RELIC", password=PASSWORD, tls=old, listener="ocpps-relic"))
    assert not await is_let_in(Station16(world.server, "RELIC", password=PASSWORD, tls=old))
    other = Station16(world.server, "MODERN", password=PASSWORD, tls=old, listener="ocpps-relic")
    assert await status_of_refusal(other) == 403
    stranger = Station16(world.server, "STRANGER", tls=old, listener="ocpps-relic")
    assert await status_of_refusal(stranger) == 403
    await world.server.api("GET", "/api/v1/chargers/STRANGER", expect=404)


@pytest.mark.case("1.6 TC_087")
async def test_tc_087_the_chargers_certificate(world: World) -> None:
    await world.add("TC087", 3, serial="SERIAL-087")
    ca = world.client_ca
    good = ca.issue("SERIAL-087")
    cp = Station16(world.server, "TC087", tls=world.client(good))
    async with cp:
        assert (await cp.boot(chargePointSerialNumber="SERIAL-087"))["status"] == "Accepted"
        assert await cp.is_served()

    wrong: list[tuple[Issued | None, str]] = [
        (None, "must bring its certificate"),
        (ca.issue("ANOTHER"), "not this charger's serial number"),
        (ca.issue("SERIAL-087", "Another CPO"), "does not say that the charger belongs to Test CPO"),
        (ca.issue("SERIAL-087", None), "does not say that the charger belongs to Test CPO"),
    ]
    for own, why in wrong:
        cp = Station16(world.server, "TC087", tls=world.client(own))
        assert await status_of_refusal(cp) == 403
        assert why in await world.reason(cp)
    # A good password is no certificate.
    assert await status_of_refusal(Station16(world.server, "TC087", password=PASSWORD, tls=world.client())) == 403
    # These do not get through the TLS handshake.
    unbelieved = [
        (Ca("A foreign root").issue("SERIAL-087"), "unable to get local issuer certificate"),
        (ca.issue("SERIAL-087", days=(-3, -1)), "certificate has expired"),
        (ca.issue("SERIAL-087", days=(1, 3)), "certificate is not yet valid"),
    ]
    for other, why in unbelieved:
        cp = Station16(world.server, "TC087", tls=world.client(other))
        assert why in await world.ended_in_tls(cp)
    assert await is_let_in(Station16(world.server, "TC087", tls=world.client(good)))


async def test_a_charger_that_boots_under_another_serial_number_is_turned_out(world: World) -> None:
    await world.add("SWAPPED", 3)
    own = world.client_ca.issue("SWAPPED")  # no boot has told a serial number yet: the identity counts
    cp = Station16(world.server, "SWAPPED", tls=world.client(own))
    async with cp:
        assert await cp.refused("BootNotification", {
            "chargePointVendor": "V", "chargePointModel": "M", "chargePointSerialNumber": "SOMEBODY-ELSE",
        }) == "SecurityError"  # fmt: skip
        assert await cp.closed() == 1008
    found = await charger(world.server, "SWAPPED")
    assert (found["serial"], found["vendor"]) == (None, None)
    cases = (await world.server.api("GET", "/api/v1/cases?charger_id=SWAPPED"))["items"]
    assert [one["type"] for one in cases] == ["CERTIFICATE"]


@pytest.mark.case("1.6 TC_088")
async def test_tc_088_the_subprotocol_is_chosen(world: World) -> None:
    async with Station16(world.server, "TC088", offers=["ocpp9.9", "ocpp1.6"]) as cp:
        assert cp.subprotocol == "ocpp1.6"
        assert (await cp.boot())["status"] == "Accepted"
    async with Station16(world.server, "TC088", offers=["ocpp1.6"], tls=world.client()) as cp:
        assert cp.subprotocol == "ocpp1.6"
    unknown = Station16(world.server, "TC088", offers=["ocpp9.9"])
    await unknown.connect()
    assert unknown.subprotocol is None
    assert await unknown.closed() == 1002
    assert "ocpp9.9" in await world.reason(unknown)


# -- moving up


@pytest.mark.case("1.6 TC_083")
async def test_tc_083_the_profile_goes_up_and_never_down_again(world: World) -> None:
    await world.add("TC083", 1)
    path = "/api/v1/chargers/TC083/security_profile"
    await world.server.api("POST", path, {"profile": 2}, expect=409)  # nobody is there to be asked
    async with Station16(world.server, "TC083", password=PASSWORD) as cp:
        cp.table["ChangeConfiguration"] = {"status": "Rejected"}
        await cp.boot()
        assert await world.server.api("POST", path, {"profile": 2}) == {"status": "Rejected", "pending": False}
        assert (await charger(world.server, "TC083"))["security_profile_pending"] is None

        cp.table["ChangeConfiguration"] = {"status": "RebootRequired"}
        cp.table["Reset"] = {"status": "Accepted"}
        assert await world.server.api("POST", path, {"profile": 2}) == {"status": "RebootRequired", "pending": True}
        asked = [one for one in cp.questions("ChangeConfiguration") if one["key"] == "SecurityProfile"]
        assert asked == [{"key": "SecurityProfile", "value": "2"}] * 2
        assert await cp.until_asked("Reset") == {"type": "Soft"}
    # Until it has come with the new one it may come with the old one: it may not have taken it after all.
    assert await is_let_in(Station16(world.server, "TC083", password=PASSWORD))
    assert (await charger(world.server, "TC083"))["security_profile"] == 1
    async with Station16(world.server, "TC083", password=PASSWORD, tls=world.client()) as cp:
        assert (await cp.boot())["status"] == "Accepted"
    found = await charger(world.server, "TC083")
    assert (found["security_profile"], found["security_profile_pending"]) == (2, None)
    assert await status_of_refusal(Station16(world.server, "TC083", password=PASSWORD)) == 403
    async with Station16(world.server, "TC083", password=PASSWORD, tls=world.client()) as cp:
        await world.server.api("POST", path, {"profile": 1}, expect=409)  # never down by asking
    await world.server.api("PATCH", "/api/v1/chargers/TC083", {"security_profile": 1})  # a person may
    assert await is_let_in(Station16(world.server, "TC083", password=PASSWORD))


async def test_whether_it_holds_our_root_is_asked_at_that_moment(world: World) -> None:
    await world.add("ROOTLESS", 1)
    path = "/api/v1/chargers/ROOTLESS/security_profile"
    async with Station16(world.server, "ROOTLESS", password=PASSWORD) as cp:
        await cp.boot()
        cp.table["ChangeConfiguration"] = {"status": "Accepted"}
        cp.table["GetInstalledCertificateIds"] = {"status": "NotFound"}
        problem = await world.server.api("POST", path, {"profile": 2}, expect=409)
        assert "no CSMSRootCertificate" in str(problem)
        assert not cp.questions("ChangeConfiguration")
        cp.table["GetInstalledCertificateIds"] = {"status": "Accepted", "certificateHashData": []}
        assert await world.server.api("POST", path, {"profile": 2}) == {"status": "Accepted", "pending": True}
        asked = {"certificateType": "CentralSystemRootCertificate"}
        assert cp.questions("GetInstalledCertificateIds") == [asked, asked]


async def test_what_would_lock_a_charger_out_is_refused_before_it_is_asked(world: World) -> None:
    await world.add("LOCKED", 0)
    path = "/api/v1/chargers/LOCKED/security_profile"
    async with Station16(world.server, "LOCKED") as cp:
        cp.table["ChangeConfiguration"] = {"status": "Accepted"}
        number = (await cp.start("ANY", 0))["transactionId"]
        problem = await world.server.api("POST", path, {"profile": 3}, expect=409)
        assert "It is charging" in str(problem)
        await cp.stop(number, 0)
        for profile, why in ((1, "no password"), (2, "no password"), (3, "no certificate of ours")):
            problem = await world.server.api("POST", path, {"profile": profile}, expect=409)
            assert why in str(problem)
        assert [one for one in cp.questions("ChangeConfiguration") if one["key"] == "SecurityProfile"] == []


# -- the charger's own certificate


class Renewing:
    """A charger that answers a trigger with a signing request, and keeps what it is sent."""

    def __init__(self, station: Station, name: str) -> None:
        self.station = station
        self.name = name
        self.key = ec_key()
        self.answer = "Accepted"
        self.chains: list[str] = []
        station.table["ExtendedTriggerMessage"] = {"status": "Accepted"}
        station.table["CertificateSigned"] = self._take

    def _take(self, payload: Payload) -> Payload:
        self.chains.append(payload["certificateChain"])
        return {"status": self.answer}

    async def ask(self) -> Payload:
        self.key = ec_key()
        return await self.station.ask("SignCertificate", {"csr": request(self.name, key=self.key)})

    def own(self) -> Issued:
        return Issued(x509.load_pem_x509_certificate(self.chains[-1].encode()), self.key)


@pytest.mark.case("1.6 TC_074")
async def test_tc_074_the_certificate_is_renewed_when_triggered_and_used(world: World) -> None:
    await world.add("TC074", 3, serial="SN-074")
    first = world.client_ca.issue("SN-074")
    async with Station16(world.server, "TC074", tls=world.client(first)) as cp:
        await cp.boot(chargePointSerialNumber="SN-074")
        renewing = Renewing(cp, "SN-074")
        path = "/api/v1/chargers/TC074/certificates"
        assert await world.server.api("POST", f"{path}/renew", {}) == {"status": "Accepted"}
        assert await cp.until_asked("ExtendedTriggerMessage") == {"requestedMessage": "SignChargePointCertificate"}
        assert await renewing.ask() == {"status": "Accepted"}
        await cp.until_asked("CertificateSigned")
        shown = await world.certificate("TC074", "accepted")
    authority = await world.server.api("GET", "/api/v1/certificate-authority")
    root = x509.load_pem_x509_certificate(authority["root"].encode())
    own = renewing.own()
    own.certificate.verify_directly_issued_by(root)
    assert own.certificate.public_key() == renewing.key.public_key()
    assert (shown["use"], shown["serial"]) == ("ChargingStationCertificate", format(own.certificate.serial_number, "x"))
    assert shown["pem"] == pem_of(own.certificate)

    # It comes with the new one, which is thereby in use; revoked, it opens no door.
    cp = Station16(world.server, "TC074", tls=world.client(own))
    async with cp:
        assert await cp.is_served()
        assert (await world.certificate("TC074", "in-use"))["id"] == shown["id"]
        await world.server.api("POST", f"{path}/{shown['id']}/revoke", {})
        assert await cp.closed() == 4003
    cp = Station16(world.server, "TC074", tls=world.client(own))
    assert await status_of_refusal(cp) == 403
    assert "revoked" in await world.reason(cp)


async def test_a_certificate_got_under_another_chargers_serial_number_opens_no_door(world: World) -> None:
    """A charger says itself what its serial number is; what it gets for it is its own and nobody else's."""
    await world.add("ROBBED", 3, serial="SN-ROBBED")
    async with Station16(world.server, "THIEF") as cp:
        await cp.boot(chargePointSerialNumber="SN-ROBBED")
        renewing = Renewing(cp, "SN-ROBBED")
        assert await renewing.ask() == {"status": "Accepted"}
        await cp.until_asked("CertificateSigned")
    own = renewing.own()
    cp = Station16(world.server, "ROBBED", tls=world.client(own))
    assert await status_of_refusal(cp) == 403
    assert "issued to another charger" in await world.reason(cp)
    await world.server.api("PATCH", "/api/v1/chargers/THIEF", {"security_profile": 3})
    assert await is_let_in(Station16(world.server, "THIEF", tls=world.client(own)))


@pytest.mark.case("1.6 TC_077")
async def test_tc_077_the_charger_finds_the_certificate_invalid_and_says_so(world: World) -> None:
    async with Station16(world.server, "TC077") as cp:
        await cp.boot(chargePointSerialNumber="SN-077")
        renewing = Renewing(cp, "SN-077")
        renewing.answer = "Rejected"
        assert await renewing.ask() == {"status": "Accepted"}
        await cp.until_asked("CertificateSigned")
        assert await cp.ask("SecurityEventNotification", event("InvalidChargePointCertificate")) == {}
        shown = await world.certificate("TC077", "rejected")
        assert shown["detail"] == "the charger answered Rejected"
        cases = (await world.server.api("GET", "/api/v1/cases?charger_id=TC077&type=CERTIFICATE"))["items"]
        assert "the charger answered Rejected" in cases[0]["text"]


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        ("x", "cannot be read"),
        (request("ANOTHER"), "not this charger's serial number"),
        (request("SN-BAD", "Another CPO"), "not to Test CPO"),
    ],
)
async def test_a_request_that_must_not_be_signed_is_rejected_at_once(world: World, csr: str, why: str) -> None:
    async with Station16(world.server, "BAD-CSR") as cp:
        await cp.boot(chargePointSerialNumber="SN-BAD")
        assert await cp.ask("SignCertificate", {"csr": csr}) == {"status": "Rejected"}
        assert await world.certificates("BAD-CSR") == []
        frames = await world.server.api("GET", "/api/v1/chargers/BAD-CSR/frames?action=SignCertificate")
        assert why in str(frames["items"][:2])


async def test_a_charger_that_asks_for_certificates_in_a_circle_is_told_no(world: World) -> None:
    async with Station16(world.server, "CIRCLE") as cp:
        await cp.boot(chargePointSerialNumber="SN-CIRCLE")
        said = [(await Renewing(cp, "SN-CIRCLE").ask())["status"] for _ in range(25)]
        assert said == ["Accepted"] * 20 + ["Rejected"] * 5
        assert await cp.is_served()


# -- certificates it holds


@pytest.mark.case("1.6 TC_075_1", "1.6 TC_075_2")
@pytest.mark.parametrize(
    ("use", "word"),
    [
        pytest.param("ManufacturerRootCertificate", "ManufacturerRootCertificate", id="tc_075_1"),
        pytest.param("CSMSRootCertificate", "CentralSystemRootCertificate", id="tc_075_2"),
    ],
)
async def test_tc_075_a_root_is_installed(world: World, use: str, word: str) -> None:
    root = Ca("A new root")
    async with Station16(world.server, f"TC075-{word}") as cp:
        cp.table["InstallCertificate"] = {"status": "Accepted"}
        path = f"/api/v1/chargers/{cp.id}/certificates"
        await cp.boot()
        assert await world.server.api("POST", path, {"use": use, "pem": root.pem}) == {"status": "Accepted"}
        assert cp.questions("InstallCertificate") == [{"certificateType": word, "certificate": root.pem}]
        held = await world.certificate(cp.id, "held", "installed")
        assert (held["use"], held["pem"]) == (use, root.pem)
        assert held["hash_data"] == hash_data(root.certificate, root.certificate)

        # The charger's own list, by a hash algorithm of its own choice, is about the same certificate.
        told = hash_data(root.certificate, root.certificate, "SHA384")
        cp.table["GetInstalledCertificateIds"] = lambda asked: (
            {"status": "Accepted", "certificateHashData": [told]}
            if asked["certificateType"] == word
            else {"status": "NotFound"}
        )
        said = await world.server.api("POST", f"{path}/read", {"uses": [use]})
        assert said == {"statuses": {use: "Accepted"}}

        async def renamed() -> bool:
            found = await world.certificates(cp.id)
            return [(one["id"], one["hash_data"]) for one in found] == [(held["id"], told)]

        assert await until(renamed)


@pytest.mark.case("1.6 TC_076")
async def test_tc_076_a_certificate_is_deleted_but_not_the_last_root_unknowingly(world: World) -> None:
    ours, theirs = Ca("Our root"), Ca("The maker's root")
    listed = {
        "CentralSystemRootCertificate": hash_data(ours.certificate, ours.certificate, "SHA512"),
        "ManufacturerRootCertificate": hash_data(theirs.certificate, theirs.certificate),
    }
    async with Station16(world.server, "TC076") as cp:
        cp.table["GetInstalledCertificateIds"] = lambda asked: (
            {"status": "Accepted", "certificateHashData": [listed[asked["certificateType"]]]}
            if asked["certificateType"] in listed
            else {"status": "NotFound"}
        )
        cp.table["DeleteCertificate"] = {"status": "Accepted"}
        await cp.boot()
        path = "/api/v1/chargers/TC076/certificates"
        await world.server.api("POST", f"{path}/read", {})

        async def both() -> dict[str, Payload] | None:
            found = {one["use"]: one for one in await world.certificates("TC076") if one["state"] == "held"}
            return found if len(found) == 2 else None

        held = await until(both)
        maker, root = held["ManufacturerRootCertificate"], held["CSMSRootCertificate"]
        assert await world.server.api("DELETE", f"{path}/{maker['id']}") == {"status": "Accepted"}
        asked = {"certificateHashData": listed["ManufacturerRootCertificate"]}
        assert cp.questions("DeleteCertificate") == [asked]
        assert (await world.certificate("TC076", "gone", "installed"))["id"] == maker["id"]
        await world.server.api("DELETE", f"{path}/{maker['id']}", expect=409)

        problem = await world.server.api("DELETE", f"{path}/{root['id']}", expect=409)
        assert "last root" in str(problem)
        cp.table["DeleteCertificate"] = {"status": "Failed"}
        assert await world.server.api("DELETE", f"{path}/{root['id']}?force=true") == {"status": "Failed"}
        assert (await world.certificate("TC076", "held", "installed"))["id"] == root["id"]
        # Deleted by hand, in OCPP's own words, the list follows all the same.
        cp.table["DeleteCertificate"] = {"status": "NotFound"}
        by_hand = {"certificateHashData": listed["CentralSystemRootCertificate"]}
        await answered(world.server, "TC076", "DeleteCertificate", by_hand)

        async def none_held() -> bool:
            return not [one for one in await world.certificates("TC076") if one["state"] == "held"]

        assert await until(none_held)


@pytest.mark.case("1.6 TC_078")
async def test_tc_078_the_charger_finds_our_root_invalid(world: World) -> None:
    async with Station16(world.server, "TC078") as cp:
        cp.table["InstallCertificate"] = {"status": "Rejected"}
        await cp.boot()
        body = {"use": "CSMSRootCertificate", "pem": Ca("Refused").pem}
        path = "/api/v1/chargers/TC078/certificates"
        assert await world.server.api("POST", path, body) == {"status": "Rejected"}
        assert await cp.ask("SecurityEventNotification", event("InvalidCentralSystemCertificate")) == {}
        assert await world.certificates("TC078") == []
        frames = await world.server.api("GET", "/api/v1/chargers/TC078/frames?action=SecurityEventNotification")
        assert "InvalidCentralSystemCertificate" in str(frames["items"])
        # What OCPP 1.6 has no word for, and what is no certificate, is not sent.
        await world.server.api("POST", path, {"use": "V2GRootCertificate", "pem": Ca("V2G").pem}, expect=422)
        await world.server.api("POST", path, {"use": "CSMSRootCertificate", "pem": "nonsense"}, expect=422)
        assert len(cp.questions("InstallCertificate")) == 1
