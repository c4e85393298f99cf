"""OCPP 2.0.1 block A: profiles, passwords, TLS, the station's certificates; and the network profiles of block B."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki_world import Ca, Issued, ec_key, request
from securing import PASSWORD, World, is_let_in, old_tls, secured, status_of_refusal
from wire import Payload, Station201, answered, at, charger, frames

pytestmark = pytest.mark.asyncio(loop_scope="module")

UP_TO_12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
SUITES = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "AES128-GCM-SHA256", "AES256-GCM-SHA384"]
PRIORITY = {"component": {"name": "OCPPCommCtrlr"}, "variable": {"name": "NetworkConfigurationPriority"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with secured(tmp_path_factory.mktemp("security201")) as made:
        yield made


async def boot(cs: Station201, serial: str) -> Payload:
    """A boot that tells a serial number."""
    station = {"vendorName": "V", "model": "M", "serialNumber": serial}
    return await cs.ask("BootNotification", {"reason": "PowerUp", "chargingStation": station})


# -- who gets in


@pytest.mark.case("2.0.1 TC_A_01")
async def test_a_01_good_basic_credentials(world: World) -> None:
    await world.add("A01", 1)
    async with Station201(world.server, "A01", password=PASSWORD) as cs:
        assert (await cs.boot())["status"] == "Accepted"
        await cs.status("Available")
    found = await charger(world.server, "A01")
    assert (found["security_profile"], found["connectors"][0]["status"]) == (1, "Available")


@pytest.mark.case("2.0.1 TC_A_02", "2.0.1 TC_A_03")
@pytest.mark.parametrize("over_tls", [False, True], ids=["profile 1", "profile 2"])
async def test_a_02_and_03_bad_basic_credentials(world: World, over_tls: bool) -> None:
    cs = Station201(world.server, f"A02-{over_tls}", tls=world.client() if over_tls else None, password=PASSWORD)
    await world.add(cs.id, 2 if over_tls else 1)
    cs.user = "SOMEBODY"
    assert await status_of_refusal(cs) == 401
    assert await world.reason(cs) == "The Basic user name is not the charger's identity."
    cs.user, cs.password = cs.id, "a-wrong-password-001"
    assert await status_of_refusal(cs) == 401
    assert await world.reason(cs) == "The password is wrong."
    cs.password = PASSWORD
    assert await is_let_in(cs)


@pytest.mark.case("2.0.1 TC_A_04")
async def test_a_04_tls_version_suites_subject_and_key(world: World) -> None:
    cs = Station201(world.server, "A04", password=PASSWORD)
    await world.add("A04", 2)
    for suite in SUITES:
        # The name is looked at, too: the CN and SAN are the host that is called.
        cs.tls = world.client(ciphers=suite, versions=UP_TO_12)
        async with cs:
            assert cs.cipher == suite
            shown = x509.load_der_x509_certificate(cs.peer_certificate)
        assert shown.subject.rfc4514_string().endswith("CN=localhost")
        assert shown.serial_number > 0
        key = shown.public_key()
        assert isinstance(key, rsa.RSAPublicKey) == (not suite.startswith("ECDHE"))
        assert key.key_size >= (2048 if isinstance(key, rsa.RSAPublicKey) else 224)
    cs.tls = world.client()
    async with cs:
        assert cs.cipher.startswith("TLS_")  # 1.3, where the station speaks it


@pytest.mark.case("2.0.1 TC_A_06")
async def test_a_06_older_tls_is_ended_and_a_good_handshake_works(world: World) -> None:
    await world.add("A06", 2)
    cs = Station201(world.server, "A06", password=PASSWORD, tls=old_tls(world))
    assert "too old" in await world.ended_in_tls(cs)
    cs.tls = world.client(versions=UP_TO_12)
    async with cs:
        assert (await cs.boot())["status"] == "Accepted"


@pytest.mark.case("2.0.1 TC_A_07")
async def test_a_07_a_good_client_certificate(world: World) -> None:
    await world.add("A07", 3, serial="SN-A07")
    async with Station201(world.server, "A07", tls=world.client(world.client_ca.issue("SN-A07"))) as cs:
        assert (await boot(cs, "SN-A07"))["status"] == "Accepted"
        assert await cs.is_served()
    assert (await charger(world.server, "A07"))["serial"] == "SN-A07"


@pytest.mark.case("2.0.1 TC_A_08")
async def test_a_08_a_bad_client_certificate(world: World) -> None:
    await world.add("A08", 3, serial="SN-A08")
    cs = Station201(world.server, "A08", tls=world.client(Ca("Another root").issue("SN-A08")))
    assert "unable to get local issuer certificate" in await world.ended_in_tls(cs)
    for own, why in (
        (None, "must bring its certificate"),
        (world.client_ca.issue("SN-XXX"), "not this charger's serial number"),
        (world.client_ca.issue("SN-A08", "Another CPO"), "does not say that the charger belongs to Test CPO"),
    ):
        cs.tls = world.client(own)
        assert await status_of_refusal(cs) == 403
        assert why in await world.reason(cs)
    assert (await charger(world.server, "A08"))["online"] is False
    # A good one is let in after all that: it was the certificates that kept it out.
    cs.tls = world.client(world.client_ca.issue("SN-A08"))
    async with cs:
        assert (await boot(cs, "SN-A08"))["status"] == "Accepted"


# -- certificates of the station


class Renewing:
    """A station that sends a signing request when it is triggered, and keeps what it is sent."""

    def __init__(self, station: Station201, name: str, answer: str = "Accepted") -> None:
        self.key = ec_key()
        self.signed: list[Payload] = []
        self._name = name
        self._answer = answer
        station.table["TriggerMessage"] = {"status": "Accepted"}
        station.table["CertificateSigned"] = self._take

    def _take(self, payload: Payload) -> Payload:
        self.signed.append(payload)
        return {"status": self._answer}

    def csr(self, use: str | None) -> Payload:
        self.key = ec_key()
        asked = {"csr": request(self._name, key=self.key)}
        return asked if use is None else {**asked, "certificateType": use}

    def own(self) -> Issued:
        return Issued(x509.load_pem_x509_certificate(self.signed[-1]["certificateChain"].encode()), self.key)


@pytest.mark.parametrize(
    ("use", "word", "told"),
    [
        pytest.param(
            "ChargingStationCertificate", "SignChargingStationCertificate", True,
            marks=pytest.mark.case("2.0.1 TC_A_11"), id="a_11",
        ),
        pytest.param(
            "V2GCertificate", "SignV2GCertificate", True, marks=pytest.mark.case("2.0.1 TC_A_12"), id="a_12"
        ),
        pytest.param(
            "CombinedCertificate", "SignCombinedCertificate", False,
            marks=pytest.mark.case("2.0.1 TC_A_13"), id="a_13",
        ),
    ],
)  # fmt: skip
async def test_a_11_to_13_a_certificate_is_renewed_when_triggered_and_used(
    world: World, use: str, word: str, told: bool
) -> None:
    serial = f"SN-{use[:12]}"
    cs = Station201(world.server, f"A11-{use}", tls=world.client(world.client_ca.issue(serial)))
    await world.add(cs.id, 3, serial=serial)
    async with cs:
        await boot(cs, serial)
        renewing = Renewing(cs, serial)
        path = f"/api/v1/chargers/{cs.id}/certificates"
        assert await world.server.api("POST", f"{path}/renew", {"use": use}) == {"status": "Accepted"}
        assert await cs.until_asked("TriggerMessage") == {"requestedMessage": word}
        assert (await cs.ask("SignCertificate", renewing.csr(use if told else None)))["status"] == "Accepted"
        sent = await cs.until_asked("CertificateSigned")
        assert sent.get("certificateType") == (use if told else None)
        assert len(sent["certificateChain"]) <= 10_000
        shown = await world.certificate(cs.id, "accepted")
        assert (shown["use"], shown["serial"]) == (use, format(renewing.own().certificate.serial_number, "x"))
        usage = renewing.own().certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert (ExtendedKeyUsageOID.CLIENT_AUTH in usage) == (use != "V2GCertificate")
        assert (ExtendedKeyUsageOID.SERVER_AUTH in usage) == (use != "ChargingStationCertificate")
        assert renewing.own().certificate.public_key() == renewing.key.public_key()
        assert await cs.is_served()
    cs.tls = world.client(renewing.own())
    if use == "V2GCertificate":  # for cars, not for us: it does not open the door
        assert not await is_let_in(cs)
        return
    async with cs:
        assert (await boot(cs, serial))["status"] == "Accepted"
        assert (await world.certificate(cs.id, "in-use"))["id"] == shown["id"]


@pytest.mark.case("2.0.1 TC_A_14")
async def test_a_14_the_station_rejects_the_certificate(world: World) -> None:
    await world.add("A14", 3, serial="SN-A14")
    cs = Station201(world.server, "A14", tls=world.client(world.client_ca.issue("SN-A14")))
    async with cs:
        await boot(cs, "SN-A14")
        renewing = Renewing(cs, "SN-A14", "Rejected")
        asked = renewing.csr("ChargingStationCertificate")
        assert (await cs.ask("SignCertificate", asked))["status"] == "Accepted"
        sent = await cs.until_asked("CertificateSigned")
        assert sent["certificateType"] == "ChargingStationCertificate"
        said = {"type": "InvalidChargingStationCertificate", "timestamp": at()}
        assert await cs.ask("SecurityEventNotification", said) == {}
        assert (await world.certificate("A14", "rejected"))["detail"] == "the charger answered Rejected"
        assert renewing.own().certificate.public_key() == renewing.key.public_key()
        cases = (await world.server.api("GET", "/api/v1/cases?charger_id=A14&type=CERTIFICATE"))["items"]
        assert len(cases) == 1
        assert len(cs.questions("CertificateSigned")) == 1  # and is not pressed upon it again
    assert await is_let_in(cs)  # the one it has is as good as before


# -- network profiles


@pytest.mark.case("2.0.1 TC_A_19")
async def test_a_19_the_profile_goes_up_by_network_profile_priority_reset_and_reconnect(world: World) -> None:
    await world.add("A19", 1)
    path = "/api/v1/chargers/A19/security_profile"
    async with Station201(world.server, "A19", password=PASSWORD) as cs:
        await cs.boot()
        cs.table["GetVariables"] = lambda asked: {
            "getVariableResult": [
                {**one, "attributeStatus": "Accepted", "attributeValue": "1"} for one in asked["getVariableData"]
            ]
        }
        cs.table["SetNetworkProfile"] = {"status": "Accepted"}
        cs.table["SetVariables"] = {"setVariableResult": [{**PRIORITY, "attributeStatus": "Accepted"}]}
        cs.table["Reset"] = {"status": "Accepted"}
        said = await world.server.api("POST", path, {"profile": 2})
        assert (said["status"], said["pending"], said["slot"], said["reset"]) == ("Accepted", True, 2, "Accepted")
        network = cs.questions("SetNetworkProfile")[-1]
        assert network["configurationSlot"] == 2
        assert network["connectionData"] == {
            "ocppVersion": "OCPP20",
            "ocppTransport": "JSON",
            "ocppCsmsUrl": world.server.urls["ocpps"],
            "messageTimeout": 60,
            "securityProfile": 2,
            "ocppInterface": "Wired0",
        }
        assert {**PRIORITY, "attributeValue": "2,1"} in cs.questions("SetVariables")[-1]["setVariableData"]
        order = [action for action, _ in cs.asked if action in {"SetNetworkProfile", "Reset"}]
        assert order == ["SetNetworkProfile", "Reset"]
        assert (await charger(world.server, "A19"))["security_profile_pending"] == 2
    async with Station201(world.server, "A19", password=PASSWORD, tls=world.client()) as cs:
        assert (await cs.boot("RemoteReset"))["status"] == "Accepted"
    assert (await charger(world.server, "A19"))["security_profile"] == 2
    assert await status_of_refusal(Station201(world.server, "A19", password=PASSWORD)) == 403


@pytest.mark.parametrize(
    ("refusing", "answer"),
    [
        ("SetNetworkProfile", {"status": "Failed"}),
        ("SetVariables", {"setVariableResult": [{**PRIORITY, "attributeStatus": "Rejected"}]}),
    ],
)
async def test_a_station_that_does_not_move_up_stays_where_it_is(world: World, refusing: str, answer: Payload) -> None:
    cs = Station201(world.server, f"STAYS-{refusing}", password=PASSWORD)
    await world.add(cs.id, 1)
    async with cs:
        await cs.boot()
        cs.table["GetVariables"] = lambda asked: {
            "getVariableResult": [{**one, "attributeStatus": "Accepted"} for one in asked["getVariableData"]]
        }
        cs.table["SetNetworkProfile"] = {"status": "Accepted"}
        cs.table[refusing] = answer
        said = await world.server.api("POST", f"/api/v1/chargers/{cs.id}/security_profile", {"profile": 2})
        assert said["pending"] is False
        assert said["status"] in {"Failed", "Rejected"}
        assert cs.questions("Reset") == []
    assert await is_let_in(Station201(world.server, cs.id, password=PASSWORD))
    assert await status_of_refusal(Station201(world.server, cs.id, password=PASSWORD, tls=world.client())) == 403


NETWORK: dict[str, Any] = {
    "configurationSlot": 1,
    "connectionData": {
        "ocppVersion": "OCPP20",
        "ocppTransport": "JSON",
        "ocppCsmsUrl": "wss://csms.example.com/ocpp",
        "messageTimeout": 30,
        "securityProfile": 2,
        "ocppInterface": "Wireless0",
        "apn": {"apn": "internet", "apnAuthentication": "CHAP", "apnUserName": "user"},
        "vpn": {
            "server": "vpn.example.com", "user": "user", "password": "secret-of-the-vpn", "key": "k", "type": "IKEv2",
        },
    },
}  # fmt: skip


@pytest.mark.case("2.0.1 TC_B_42", "2.0.1 TC_B_44")
@pytest.mark.parametrize("status", ["Accepted", "Failed"], ids=["b_42", "b_44"])
async def test_b_42_and_44_a_network_profile_with_every_field(world: World, status: str) -> None:
    async with Station201(world.server, f"B42-{status}") as cs:
        await cs.boot()
        cs.table["SetNetworkProfile"] = {"status": status}
        assert await answered(world.server, cs.id, "SetNetworkProfile", NETWORK) == {"status": status}
        assert cs.questions("SetNetworkProfile") == [NETWORK]
        logged = await frames(world.server, cs.id, "SetNetworkProfile")
        assert "csms.example.com" in str(logged)
        assert "secret-of-the-vpn" not in str(logged)
        assert [one["frame"][2] for one in logged if one["type"] == "result"] == [{"status": status}]
        assert await cs.is_served()


@pytest.mark.case("2.0.1 TC_B_42", "2.0.1 TC_B_44")
@pytest.mark.parametrize("status", ["Accepted", "Failed"], ids=["b_42", "b_44"])
async def test_b_42_and_44_what_comes_of_our_own_network_profile(world: World, status: str) -> None:
    cs = Station201(world.server, f"B42-OWN-{status}", password=PASSWORD)
    await world.add(cs.id, 1)
    async with cs:
        await cs.boot()
        cs.table |= {
            "GetVariables": lambda asked: {
                "getVariableResult": [
                    {**one, "attributeStatus": "Accepted", "attributeValue": "1,2"} for one in asked["getVariableData"]
                ]
            },
            "SetNetworkProfile": {"status": status},
            "SetVariables": {"setVariableResult": [{**PRIORITY, "attributeStatus": "Accepted"}]},
            "Reset": {"status": "Scheduled"},
        }
        body = {"profile": 2, "slot": 7, "url": "wss://csms.example.com/ocpp", "interface": "Wireless1"}
        said = await world.server.api("POST", f"/api/v1/chargers/{cs.id}/security_profile", body)
        is_taken = status == "Accepted"
        assert (said["status"], said["pending"], said["slot"]) == (status, is_taken, 7)
        (network,) = cs.questions("SetNetworkProfile")
        connection = network["connectionData"]
        assert (network["configurationSlot"], connection["securityProfile"]) == (7, 2)
        assert (connection["ocppCsmsUrl"], connection["ocppInterface"]) == (body["url"], "Wireless1")
        # Only a profile that was taken is put first, and reset for.
        first = [{"setVariableData": [{**PRIORITY, "attributeValue": "7,1,2"}]}]
        asked = [one for one in cs.questions("SetVariables") if PRIORITY.items() <= one["setVariableData"][0].items()]
        assert asked == (first if is_taken else [])
        assert cs.questions("Reset") == ([{"type": "OnIdle"}] if is_taken else [])
        kept = await charger(world.server, cs.id)
        assert (kept["security_profile"], kept["security_profile_pending"]) == (1, 2 if is_taken else None)


@pytest.mark.case("2.0.1 TC_B_58")
async def test_b_58_the_subprotocol_is_validated(world: World) -> None:
    async with Station201(world.server, "B58", offers=["ocpp9.9", "ocpp2.0.1"]) as cs:
        assert cs.subprotocol == "ocpp2.0.1"
        assert (await cs.boot())["status"] == "Accepted"
    stranger = Station201(world.server, "B58", offers=["ocpp9.9"])
    await stranger.connect()
    assert stranger.subprotocol is None
    assert await stranger.closed() == 1002
    assert "ocpp9.9" in await world.reason(stranger)
