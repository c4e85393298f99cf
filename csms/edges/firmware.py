"""The errand that asks a charger to update its firmware, and what it tells of it (1.6 6.19, white paper 5; L01, L02).

OCPP 1.6 has two messages: UpdateFirmware, which every charger knows, and SignedUpdateFirmware of the security
extension. A signed image is offered signed; a charger that does not know the message is asked the old way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from csms.app.answers import RawAnswer, SchemaProblems
from csms.app.calls import CallAnswered
from csms.app.reports import Report
from csms.app.upgrading import Claim, Upgrading
from csms.domain.refusal import Refusal
from csms.edges.ocppj.codes import Version
from csms.edges.ocpptime import stamp
from csms.edges.steward import NoAnswer, SaidNo, Visit
from csms.ports import Clock

ERRAND: Final = "firmware"
SIGNED16: Final = "SignedUpdateFirmware"
PLAIN: Final = "UpdateFirmware"  # in 1.6 without a signature, in 2.0.1 with or without
_CHARGERS_OWN_RETRIES: Final = {"retries": 3, "retryInterval": 60}


class Upgrades:
    """Asks, and hands on what is answered and told."""

    def __init__(self, upgrading: Upgrading, clock: Clock, raw: Callable[..., Awaitable[RawAnswer]]) -> None:
        self._upgrading = upgrading
        self._clock = clock
        self._raw = raw

    async def errand(self, visit: Visit) -> None:
        """Ask for the update whose turn it is; nothing when it is nobody's."""
        claim = await self._upgrading.claim(visit.station.id)
        if claim is None:
            return
        try:
            status = await self._ask(visit, claim)
        except SaidNo as no:
            status = no.code
        except (Refusal, SchemaProblems):  # an address too long for OCPP, say: no attempt will go better
            await self._upgrading.answered(claim.job_id, claim.request_id, "NotSupported")
            raise
        except (NoAnswer, TimeoutError):
            await self._upgrading.not_answered(claim.job_id)
            return  # the job has its own clock
        await self._upgrading.answered(claim.job_id, claim.request_id, status)

    async def _ask(self, visit: Visit, claim: Claim) -> str:
        now_ms = self._clock.now_ms()
        if visit.version is Version.V201:
            answer = await visit.ask(PLAIN, _numbered(claim, now_ms))
            return str(answer.get("status"))
        if claim.signature is not None:
            try:
                answer = await visit.ask(SIGNED16, _numbered(claim, now_ms))
            except SaidNo as no:
                if not no.is_unsupported:
                    raise
            else:
                return str(answer.get("status"))
        retrieve_ms = claim.orders.retrieve_ms or now_ms
        await visit.ask(
            PLAIN, {"location": claim.location, "retrieveDate": stamp(retrieve_ms), **_CHARGERS_OWN_RETRIES}
        )
        return "Accepted"  # 1.6 answers with nothing, and means yes

    async def publish(self, station_id: str, image_id: str, *, timeout_s: float) -> tuple[int, RawAnswer]:
        """Have a local controller offer an image to the stations behind it (L03): (the number, its answer)."""
        request_id, location, md5 = await self._upgrading.publication(image_id, station_id)
        payload = {"location": location, "checksum": md5, "requestId": request_id, **_CHARGERS_OWN_RETRIES}
        return request_id, await self._raw(station_id, "PublishFirmware", payload, timeout_s=timeout_s)

    async def on_answer(self, call: CallAnswered) -> None:
        """Reader of UpdateFirmware and SignedUpdateFirmware: an answer that came too late for the errand."""
        request_id = call.request.get("requestId")
        status = call.response.get("status")
        if request_id is None or status is None:
            return
        job_id = await self._upgrading.job_of_request(call.station, int(request_id))
        if job_id is not None:
            await self._upgrading.answered(job_id, int(request_id), str(status))

    async def on_notice(self, report: Report) -> None:
        """Reader of FirmwareStatusNotification and its signed sister. Idle says nothing of any update."""
        status = str(report.body.get("status"))
        if status != "Idle":
            await self._upgrading.told(report.station, status, report.body.get("requestId"), report.received_ms)


def _numbered(claim: Claim, now_ms: int) -> dict[str, Any]:
    """SignedUpdateFirmware of 1.6 and UpdateFirmware of 2.0.1 are spelt alike."""
    firmware = {"location": claim.location, "retrieveDateTime": stamp(claim.orders.retrieve_ms or now_ms)}
    if claim.orders.install_ms is not None:
        firmware["installDateTime"] = stamp(claim.orders.install_ms)
    if claim.signing_certificate is not None and claim.signature is not None:
        firmware |= {"signingCertificate": claim.signing_certificate, "signature": claim.signature}
    return {"requestId": claim.request_id, "firmware": firmware, **_CHARGERS_OWN_RETRIES}
