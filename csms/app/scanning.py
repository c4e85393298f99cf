"""How much each buyer app searches and how much it buys, in memory; the table of `domain.scanning` decides.

Forgotten at a restart: that gives a scanner one allowance, and nobody else loses anything. Memory is bounded: the
apps and the areas that were asked about longest ago are dropped first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from csms.domain.scanning import Allowance, Freshness, Score, ceiling, freshness

MAX_APPS = 2_000
MAX_AREAS = 512  # per app


@dataclass(slots=True)
class Counted:
    """One buyer app since the start."""

    bap_id: str
    searches: int = 0
    selects: int = 0
    shown: dict[Freshness, int] = field(default_factory=dict)
    last_ms: int = 0
    freshness: Freshness = Freshness.LIVE  # of its last search
    _total: Score = field(default_factory=Score)
    _selected: Score = field(default_factory=Score)
    _areas: OrderedDict[str, Score] = field(default_factory=OrderedDict)

    @property
    def searches_per_select(self) -> float | None:
        """None: it has never selected anything."""
        return round(self.searches / self.selects, 2) if self.selects else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a search is answered. `is_alarming`: a person should know of this app, and has not been told today."""

    freshness: Freshness
    is_alarming: bool = False
    in_area: int = 0
    in_all: int = 0


class FairUse:
    """Everybody's counts."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._apps: OrderedDict[str, Counted] = OrderedDict()
        self._told: dict[str, int] = {}  # app -> the day of the last alarm

    def searched(self, bap_id: str, area: str, now_ms: int) -> Verdict:
        """Count one search and say how it is answered."""
        app, wanted = self._app(bap_id, now_ms), self._allowance
        half_life_ms = wanted.half_life_ms
        selects = app._selected.at(now_ms, half_life_ms)
        app.searches += 1
        app._total = app._total.plus_one(now_ms, half_life_ms, ceiling(wanted.total, wanted.per_select, selects))
        before = app._areas.pop(area, Score())
        in_area = before.plus_one(now_ms, half_life_ms, ceiling(wanted.area, wanted.per_select, selects))
        app._areas[area] = in_area
        while len(app._areas) > MAX_AREAS:
            app._areas.popitem(last=False)
        found = freshness(in_area.value, app._total.value, selects, wanted)
        app.freshness = found
        app.shown[found] = app.shown.get(found, 0) + 1
        return Verdict(found, self._is_news(bap_id, found, now_ms), int(in_area.value), int(app._total.value))

    def selected(self, bap_id: str, now_ms: int) -> None:
        """Count one selection that was priced."""
        app = self._app(bap_id, now_ms)
        app.selects += 1
        app._selected = app._selected.plus_one(now_ms, self._allowance.half_life_ms, float("inf"))

    def all(self) -> list[Counted]:
        """Every app that has asked, the latest first."""
        return list(reversed(self._apps.values()))

    def _app(self, bap_id: str, now_ms: int) -> Counted:
        app = self._apps.pop(bap_id, None) or Counted(bap_id)
        self._apps[bap_id] = app
        app.last_ms = now_ms
        while len(self._apps) > MAX_APPS:
            gone, _ = self._apps.popitem(last=False)
            self._told.pop(gone, None)
        return app

    def _is_news(self, bap_id: str, found: Freshness, now_ms: int) -> bool:
        """The first answer of a day without states: once is enough for a person to look."""
        day = now_ms // 86_400_000
        if found not in (Freshness.COARSE, Freshness.REFUSED) or self._told.get(bap_id) == day:
            return False
        self._told[bap_id] = day
        return True
