"""What chargers answered to messages of ours, whoever sent them: an instruction, an errand, an operator by hand.

    CALL ─▶ RESULT ─▶ table `frames` + fact CallAnswered ─▶ Calls ─▶ whoever keeps a shadow of what the call changed

So a shadow (installed profiles, the local list, the configuration) follows the wire and not the sender. A reader may
be called again for the same answer and must be idempotent. A message answered with a CALLERROR changed nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from csms.ports import Fact, ReadTx, Store, StoreDown, Table

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call of ours as it stood on the wire, and its result in the shape of its schema."""

    station: str
    action: str
    request: dict[str, Any]
    response: dict[str, Any]
    at_ms: int  # when the answer came
    seq: int  # of the frame: later calls have larger ones


Reader = Callable[[CallAnswered], Awaitable[None]]
Shape = Callable[[str, str, Any], dict[str, Any]]  # of a charger's answer to an action


class Calls:
    """Follower of the journal that hands each answer to the readers of its action."""

    FOLLOWED: Final = frozenset({"CallAnswered"})

    def __init__(self, store: Store, shape: Shape) -> None:
        self._store = store
        self._shape = shape
        self._readers: dict[str, list[Reader]] = {}

    def read(self, action: str, reader: Reader) -> None:
        """Call `reader` for every result to this OCPP action, in the order in which they came."""
        self._readers.setdefault(action, []).append(reader)

    async def on_facts(self, facts: Sequence[Fact]) -> None:
        """Hand them on; again after a crash."""
        for fact in facts:
            readers = self._readers.get(str(fact.body["action"]))
            if not readers or fact.station is None:
                continue
            answered = await self._store.read(partial(_one, fact=fact))
            if answered is None:
                continue  # its frame was dropped by retention since
            answered = replace(answered, response=self._shape(answered.station, answered.action, answered.response))
            for reader in readers:
                await read_safely(reader, answered, station=answered.station, what=answered.action)


async def read_safely(reader: Callable[[T], Awaitable[None]], told: T, *, station: str, what: str) -> None:
    """Let one reader understand what one charger said. What it cannot understand stays stored as it came; it must not
    keep the words of every other charger from being read. Trouble of the store is not the charger's: tried again."""
    try:
        await reader(told)
    except (StoreDown, asyncio.CancelledError):
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        log.exception("charger.not_understood", station=station, what=what)


def answered_fact(station: str, at_ms: int, action: str, seq: int) -> Fact:
    """A charger has answered; `seq` is the number of the frame."""
    return Fact("CallAnswered", at_ms, {"action": action, "frame_seq": seq}, station)


def _one(tx: ReadTx, fact: Fact) -> CallAnswered | None:
    seq = int(fact.body["frame_seq"])
    row = tx.one(Table.FRAMES, seq=seq)
    if row is None or row["response"] is None:
        return None
    request, response = json.loads(row["request"]), json.loads(row["response"])
    return CallAnswered(str(fact.station), str(fact.body["action"]), request[3], response[2], fact.at_ms, seq)
