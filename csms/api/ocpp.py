"""OCPP as it is: any message to a charger in its own words, and the frames that went over its link."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, JsonValue, RootModel

from csms.api.models import Time, View, time
from csms.api.pages import Page, PageQuery, Query, encode, numbers_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import mask
from csms.ports import ReadTx

route: Final = Routes("OCPP")


class Payload(RootModel[dict[str, JsonValue]]):
    """A payload as the charger's OCPP version spells it."""

    model_config = ConfigDict(strict=True)


class WaitQuery(Query):
    """How long to wait for the charger."""

    timeout_s: Annotated[float, Field(gt=0, le=300, allow_inf_nan=False)] = 30.0


class RawAnswerView(View):
    """What came of it. HTTP 200 whatever the charger did: look at `status`."""

    status: Literal["answered", "call_error", "timeout", "offline"]
    message_id: str | None
    response: JsonValue
    error: JsonValue


class FrameQuery(PageQuery):
    """Filters of the frames."""

    action: str | None = None


class FrameView(View):
    """One frame. `frame` is the parsed JSON array, or the text when it was none."""

    at: Time
    direction: Literal["in", "out"] = Field(description="`in`: the charger said it")
    type: Literal["call", "result", "error", "malformed"]
    action: str | None
    message_id: str | None
    frame: JsonValue
    latency_ms: int | None = Field(description="of an answer: since its call")
    note: str | None


@route(
    "POST",
    "/api/v1/chargers/{id}/ocpp/{Action}",
    query=WaitQuery,
    body=Payload,
    answer=RawAnswerView,
    errors=[404],
    summary="Send any OCPP message and wait for the answer",
)
async def send_raw(call: Call[WaitQuery, Payload]) -> RawAnswerView:
    """Send one CALL. 422 when the payload breaks the schema of the charger's version; nothing is sent then."""
    charger_id = call.path["id"]
    await call.charger()
    answer = await call.system.instructing.raw(
        charger_id, call.path["Action"], call.body.root, timeout_s=call.query.timeout_s
    )
    return RawAnswerView(
        status=answer.status, message_id=answer.message_id, response=mask(answer.response), error=mask(answer.error)
    )


@route(
    "GET",
    "/api/v1/chargers/{id}/frames",
    query=FrameQuery,
    answer=Page[FrameView],
    errors=[404],
    summary="Raw frames, newest first",
)
async def list_frames(call: Call[FrameQuery, None]) -> Page[FrameView]:
    """Both directions, newest exchange first; secrets are masked."""
    q, charger_id = call.query, call.path["id"]
    key = numbers_key(q.cursor, 2)
    after = (key[0], bool(key[1])) if key is not None else None

    def read(tx: ReadTx) -> tuple[list[queries.Frame], queries.FramePlace | None]:
        row = queries.charger(tx, charger_id)
        return queries.frames(tx, row["no"], limit=q.limit, action=q.action, after=after)

    frames, going_on = await call.system.store.read(read)
    items = [_view(frame) for frame in frames]
    return Page[FrameView](
        items=items, next_cursor=encode([going_on[0], int(going_on[1])] if going_on is not None else None)
    )


def _view(frame: queries.Frame) -> FrameView:
    members: dict[str, Any] = {
        "at": time(frame.at_ms),
        "direction": frame.direction,
        "type": frame.type,
        "action": frame.action,
        "message_id": frame.message_id,
        "frame": frame.frame,
        "latency_ms": frame.latency_ms,
        "note": frame.note,
    }
    return FrameView.model_validate(members)
