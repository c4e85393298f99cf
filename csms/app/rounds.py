"""Looking after many orders of one state, a bite at a time: whoever comes late in the list has a turn, too."""

from __future__ import annotations

from csms.ports import Row, Store, Table

_BITE = 200


class Round:
    """Goes round the orders of one state. What is looked at stays in the list until it changes its state."""

    def __init__(self, store: Store, state: str) -> None:
        self._store = store
        self._state = state
        self._after = 0

    async def bite(self) -> list[Row]:
        """The next orders; from the beginning again when the end was reached."""
        after = self._after
        rows = await self._store.read(
            lambda tx: tx.many(Table.ORDERS, order="no", after=after, limit=_BITE, state=self._state)
        )
        self._after = int(rows[-1]["no"]) if len(rows) == _BITE else 0
        return rows
