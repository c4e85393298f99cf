"""The authorization list that a charger keeps for when it is offline: which tokens, told in which steps (1.6 3.5, D01).

    held ─┬─ unknown, or not ours any more ─▶ Full with the first tokens ─┐
          └─ known ───────────────────────────────────────────────────────┴─▶ Differential … until it is as wanted

Every step stands by itself: what the charger took is what the next step goes out from, so a sync may be broken off
anywhere and gone on with. A version is above 0 and rises with every message (1.6 errata 3.52).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from csms.domain.access import KEY_CODE, Circumstances, Place, Token, TokenKind, judge

LARGEST_VERSION: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Listed:
    """A token as a charger is told of it. `type` None: OCPP 1.6 has none. `evses`: good at these only."""

    uid: str
    type: str | None
    status: str
    group_id: str | None = None
    expires_ms: int | None = None
    evses: tuple[int, ...] = ()


Held = Mapping[str, Listed]  # by normalised uid


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may carry, and the whole list may hold; None: as much as there is."""

    per_message: int | None = None
    bytes_per_message: int | None = None
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """One message. `put` are told with their status, `drop` without, which removes them."""

    version: int
    full: bool
    put: tuple[tuple[str, Listed], ...] = ()
    drop: tuple[tuple[str, Listed], ...] = ()

    def applied_to(self, held: Held | None) -> dict[str, Listed]:
        """What the charger holds once it has accepted this."""
        after = {} if self.full or held is None else dict(held)
        for key, _ in self.drop:
            after.pop(key, None)
        after.update(self.put)
        return after


def next_update(
    held: Held | None, wanted: Held, *, version: int, limits: Limits, weigh: Callable[[Listed], int]
) -> Update | None:
    """The next message towards `wanted`; None when it is reached. `held` None: not known. `version`: the last one
    given out or reported. `weigh` tells the bytes a token takes in a message."""
    number = version + 1 if 0 <= version < LARGEST_VERSION else 1
    if held is None or number == 1 or (held and not wanted):
        if held is not None and held == wanted:
            return None
        return Update(number, True, put=tuple(_chunk(wanted.items(), limits, weigh)))
    # What is taken away goes first: it makes room, and it is what must not charge any more.
    drop = [(key, listed) for key, listed in held.items() if key not in wanted]
    put = [(key, listed) for key, listed in wanted.items() if held.get(key) != listed]
    if not drop and not put:
        return None
    steps = _chunk([*drop, *put], limits, weigh)
    gone = {key for key, _ in drop}
    return Update(
        number,
        False,
        put=tuple(step for step in steps if step[0] not in gone),
        drop=tuple(step for step in steps if step[0] in gone),
    )


def _chunk(
    items: Iterable[tuple[str, Listed]], limits: Limits, weigh: Callable[[Listed], int]
) -> list[tuple[str, Listed]]:
    """As many as one message may carry; one at least, whatever the limits say."""
    chunk: list[tuple[str, Listed]] = []
    left = limits.bytes_per_message
    for item in islice(items, limits.per_message):
        if left is not None:
            left -= weigh(item[1])
            if left < 0 and chunk:
                break
        chunk.append(item)
    return chunk


def may_be_listed(token: Token, kinds: frozenset[TokenKind], master_group: str | None) -> bool:
    """Whether it is a token that chargers may keep. A master pass would begin sessions where nobody asks us; a key
    code is a secret; an order is for once."""
    if token.kind not in kinds or token.type == KEY_CODE or token.power_types:
        return False
    return master_group is None or token.group_id != master_group


def listed(token: Token, now_ms: int, place: Place, *, due_since_ms: int | None) -> Listed | None:
    """The token as the charger at `place` would be told of it; None when it may not charge there now."""
    known = Circumstances(starts=False, due_since_ms=due_since_ms)
    verdict = judge(token, now_ms, place=place, circumstances=known)
    if not verdict.is_good:
        return None
    return Listed(token.uid, token.type, verdict.status.value, token.group_id, token.expires_ms, verdict.evses)


def fit(wanted: Mapping[str, Listed], limits: Limits) -> tuple[dict[str, Listed], int]:
    """(what the list has room for, how many it has not); the first ones are the ones that matter."""
    kept = dict(islice(wanted.items(), limits.capacity))
    return kept, len(wanted) - len(kept)
