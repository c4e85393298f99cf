"""Certificates over their lives: an authority that is down, one that errs, renewal before the end, a killed server."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from pki_world import Ca, SigningService, ec_key, pem, request, serving
from running import Server, running
from wire import Payload, Station16, Station201, until


class Asking:
    """A charger that asks for certificates and keeps what it is sent."""

    def __init__(self, station: Station16 | Station201, name: str) -> None:
        self.station = station
        self.name = name
        self.key = ec_key()
        self.chains: list[list[x509.Certificate]] = []
        station.table["CertificateSigned"] = self._take
        station.table["ExtendedTriggerMessage"] = {"status": "Accepted"}

    def _take(self, payload: Payload) -> Payload:
        self.chains.append(x509.load_pem_x509_certificates(payload["certificateChain"].encode()))
        return {"status": "Accepted"}

    async def ask(self) -> str:
        self.key = ec_key()
        answer = await self.station.ask("SignCertificate", {"csr": request(self.name, key=self.key)})
        return str(answer["status"])


async def certificates(server: Server, charger_id: str, state: str | None = None) -> list[Payload]:
    """The charger's certificates; with a state, once there is one in it."""

    async def look() -> list[Payload]:
        found = (await server.api("GET", f"/api/v1/chargers/{charger_id}/certificates"))["items"]
        return [one for one in found if state is None or one["state"] == state]

    fitting: list[Payload] = await (look() if state is None else until(look))
    return fitting


def external(service: SigningService, **more: Any) -> dict[str, dict[str, Any]]:
    return {"ocpp": {"settle_s": 0.1}, "tls": {"ca": "external", "ca_url": service.url, **more}}


async def test_an_external_authority_signs_and_its_issuers_go_along_as_far_as_there_is_room(tmp_path: Path) -> None:
    root = Ca("External root")
    sub = Ca("External sub", above=root)
    service = SigningService(sub, chain=[sub.certificate])
    async with serving(service), running(tmp_path, external(service)) as server:
        async with Station16(server, "EXT") as cp:
            asking = Asking(cp, "EXT")
            await cp.boot()
            assert await asking.ask() == "Accepted"
            await cp.until_asked("CertificateSigned")
            (shown,) = await certificates(server, "EXT", "accepted")
            ((leaf, issuer),) = asking.chains
            assert (leaf.public_key(), issuer) == (asking.key.public_key(), sub.certificate)
            assert shown["serial"] == format(leaf.serial_number, "x")
        service.chain = [sub.certificate] * 20  # longer than CertificateSigned may be
        async with Station16(server, "EXT") as cp:
            asking = Asking(cp, "EXT")
            assert await asking.ask() == "Accepted"
            sent = (await cp.until_asked("CertificateSigned"))["certificateChain"]
            assert 9_000 < len(sent) <= 10_000
            assert x509.load_pem_x509_certificate(sent.encode()).public_key() == asking.key.public_key()
        assert service.asked[0]["X-Charger-Id"] == "EXT"
        assert service.asked[0]["X-Certificate-Use"] == "ChargingStationCertificate"
        # The built-in authority was not asked for, so there is none.
        assert not (server.data_dir / "ca-key.pem").exists()
        assert await server.api("GET", "/api/v1/certificate-authority") == {"kind": "external", "root": None}


class Lenient(SigningService):
    """An authority that signs the last request of what it is sent."""

    async def answer(self, incoming: web.Request) -> web.Response:
        begin = "-----BEGIN CERTIFICATE REQUEST-----"
        signed = self.ca.sign(begin + (await incoming.text()).rpartition(begin)[2])
        return web.Response(text=pem(signed))


class Renaming(SigningService):
    """An authority that puts a name of its own into what it signs."""

    async def answer(self, incoming: web.Request) -> web.Response:
        asked = x509.load_pem_x509_csr(await incoming.read())
        return web.Response(text=pem(self.ca.issue("ANOTHER", public_key=asked.public_key()).certificate))


async def test_an_external_authority_sees_the_one_request_that_was_judged(tmp_path: Path) -> None:
    service = Lenient(Ca())
    async with serving(service), running(tmp_path, external(service)) as server, Station16(server, "TWO") as cp:
        asking = Asking(cp, "TWO")
        await cp.boot()
        both = request("TWO", key=asking.key) + request("ANOTHER", key=asking.key)
        assert await cp.ask("SignCertificate", {"csr": both}) == {"status": "Accepted"}
        (shown,) = await certificates(server, "TWO", "accepted")
        assert "CN=TWO" in shown["subject"]


async def test_a_certificate_that_names_another_is_not_taken_to_the_charger(tmp_path: Path) -> None:
    service = Renaming(Ca())
    async with serving(service), running(tmp_path, external(service)) as server, Station16(server, "RENAMED") as cp:
        asking = Asking(cp, "RENAMED")
        await cp.boot()
        assert await asking.ask() == "Accepted"
        (shown,) = await certificates(server, "RENAMED", "rejected")
        assert "names ANOTHER, not RENAMED" in shown["detail"]
        assert asking.chains == []


async def test_an_authority_that_is_down_is_told_to_a_person_and_asked_again(tmp_path: Path) -> None:
    service = SigningService(Ca(), broken=True)
    async with serving(service), running(tmp_path, external(service)) as server:
        async with Station16(server, "LATER") as cp:
            asking = Asking(cp, "LATER")
            await cp.boot()
            assert await asking.ask() == "Accepted"

            async def told() -> list[Payload]:
                found: list[Payload] = (await server.api("GET", "/api/v1/cases?charger_id=LATER"))["items"]
                return found

            (case,) = await until(told)
            assert case["type"] == "CERTIFICATE"
            assert "HTTP 503" in case["text"]
            (waiting,) = await certificates(server, "LATER", "requested")
            assert waiting["pem"] is None
            assert await cp.is_served()
        # Killed meanwhile, the server knows what it owes; the charger comes back and gets it.
        await server.kill()
        service.broken = False
        await server.start()
        cp = Station16(server, "LATER")
        asking.station, cp.table["CertificateSigned"] = cp, asking._take
        async with cp:
            await cp.until_asked("CertificateSigned")
            (accepted,) = await certificates(server, "LATER", "accepted")
            assert accepted["id"] == waiting["id"]


async def test_an_authority_that_signs_another_key_is_not_believed(tmp_path: Path) -> None:
    class Erring(SigningService):
        async def answer(self, incoming: web.Request) -> web.Response:
            self.asked.append(dict(incoming.headers))
            return web.Response(text=pem(self.ca.issue("ERRS").certificate) if len(self.asked) == 1 else "nothing")

    service = Erring(Ca())
    async with (
        serving(service),
        running(tmp_path, external(service)) as server,
        Station16(server, "ERRS") as cp,
    ):
        asking = Asking(cp, "ERRS")
        await cp.boot()
        for why in ("its certificate is for another key", "there is no certificate in PEM"):
            assert await asking.ask() == "Accepted"

            async def rejected(why: str = why) -> bool:
                return any(why in str(one["detail"]) for one in await certificates(server, "ERRS", "rejected"))

            assert await until(rejected)
        assert asking.chains == []


async def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path) -> None:
    service = SigningService(Ca(), days=lambda count: 2 if count == 1 else 60)
    async with serving(service), running(tmp_path, external(service)) as server, Station16(server, "ENDS") as cp:
        asking = Asking(cp, "ENDS")
        await cp.boot()
        assert await asking.ask() == "Accepted"
        # It would end within the month, so the charger is asked for a new request of our own accord.
        assert await cp.until_asked("ExtendedTriggerMessage") == {"requestedMessage": "SignChargePointCertificate"}
        assert await asking.ask() == "Accepted"
        await cp.until_asked("CertificateSigned", 2)

        async def both() -> bool:
            return [one["state"] for one in await certificates(server, "ENDS")] == ["accepted", "accepted"]

        assert await until(both)
        # Asked once: what it has now lasts.
        assert await cp.is_served()
        assert len(cp.questions("ExtendedTriggerMessage")) == 1


async def test_a_charger_that_asks_twice_gets_an_answer_to_the_newer_request(tmp_path: Path) -> None:
    async with running(tmp_path, {"ocpp": {"settle_s": 1.5}}) as server, Station16(server, "TWICE") as cp:
        asking = Asking(cp, "TWICE")
        await cp.boot()
        assert [await asking.ask(), await asking.ask()] == ["Accepted", "Accepted"]
        await certificates(server, "TWICE", "accepted")
        ((leaf,),) = asking.chains
        assert leaf.public_key() == asking.key.public_key()
        assert sorted(one["state"] for one in await certificates(server, "TWICE")) == ["accepted", "gone"]


async def test_without_an_authority_requests_are_rejected(tmp_path: Path) -> None:
    async with running(tmp_path, {"tls": {"ca": "off"}}) as server, Station201(server, "OFF") as cs:
        await cs.boot()
        assert (await cs.ask("SignCertificate", {"csr": request("OFF")}))["status"] == "Rejected"
        await server.api("POST", "/api/v1/chargers/OFF/certificates/renew", {}, expect=409)


async def test_the_server_does_not_start_with_files_it_cannot_show(tmp_path: Path) -> None:
    certificate, key = Ca().issue("old", days=(-3, -1)).files(tmp_path, "old")
    server = Server(tmp_path / "server", {"tls": {"port": 0, "certificate": str(certificate), "key": str(key)}})
    with pytest.raises(AssertionError, match=r"tls: .*old\.pem expired on"):
        await server.start()
    assert "Traceback" not in server.log.read_text()
    await server.stop()


async def test_a_charger_over_tls_is_cut_killed_and_served_like_any_other(tmp_path: Path) -> None:
    ca = Ca()
    certificate, key = ca.issue("localhost").files(tmp_path, "server")
    settings = {"tls": {"port": 0, "certificate": str(certificate), "key": str(key)}}
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname = False
    tls.load_verify_locations(cadata=ca.pem)
    async with running(tmp_path / "server", settings) as server:
        await server.api("PUT", "/api/v1/tokens/TAG", {"status": "Accepted"})
        cp = Station16(server, "OVER-TLS", tls=tls)
        await cp.connect()
        await cp.boot()
        number = (await cp.start("TAG", 1000))["transactionId"]
        await cp.meter(number, 1500)
        await cp.cut()
        await cp.connect()
        # A frame larger than any TLS record, and two frames in one go.
        samples = [{"value": "1600", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}] * 2000
        moment = {"timestamp": "2026-01-02T03:04:05Z", "sampledValue": samples}
        said = {"connectorId": 1, "transactionId": number, "meterValue": [moment]}
        assert await cp.ask("MeterValues", said) == {}
        assert await asyncio.gather(cp.is_served(), cp.is_served()) == [True, True]
        await server.kill()
        await server.start()
        await cp.connect()
        assert await cp.stop(number, 2000) == {}
        assert await cp.is_served()
        (over,) = (await server.api("GET", "/api/v1/sessions?charger_id=OVER-TLS"))["items"]
        assert (over["open"], over["energy_wh"]) == (False, 1000)
        checks = str(await server.api("GET", "/readyz"))
        assert "our certificate holds until" in checks
        leaving = asyncio.create_task(cp.closed())
        assert await server.stop() == 0
        assert await leaving == 1001
