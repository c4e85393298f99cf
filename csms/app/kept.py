"""A no after which something stays: a wrong try is counted, money goes back. Everything else of the work is undone."""

from __future__ import annotations

from collections.abc import Callable

from csms.domain.refusal import Refusal, Why
from csms.ports import Tx


class KeptRefusal(Refusal):
    """`keep` is done in the transaction that writes the no down; it may run twice and may find things changed."""

    def __init__(self, why: Why, detail: str, keep: Callable[[Tx], None]) -> None:
        super().__init__(why, detail)
        self.keep = keep
