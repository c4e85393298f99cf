"""What chargers answered to messages of ours, whoever sent them: an instruction, an errand, an operator by hand.

    CALL ─▶ RESULT ─▶ table `frames` + fact CallAnswered ─▶ Calls ─▶ whoever keeps a shadow of what the call changed

So a shadow (installed profiles, the local list, the configuration) follows the wire and not the sender. A reader may
be called again for the same answer and must be idempotent. A message answered with a CALLERROR changed nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from csms.ports import Fact, ReadTx, Store, Table


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """A call of ours and its result, both as they stood on the wire."""

    station: str
    action: str
    request: dict[str, Any]
    response: dict[str, Any]
    at_ms: int  # when the answer came
    seq: int  # of the frame: later calls have larger ones


Reader = Callable[[CallAnswered], Awaitable[None]]


class Calls:
    """Follower of the journal that hands each answer to the readers of its action."""

    FOLLOWED: Final = frozenset({"CallAnswered"})

    def __init__(self, store: Store) -> None:
        self._store = store
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
            answered = await self._store.read(lambda tx, fact=fact: _one(tx, fact))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            if answered is None:
                continue  # its frame was dropped by retention since
            for reader in readers:
                await reader(answered)


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
