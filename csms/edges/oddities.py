"""What chargers get wrong, counted: by rule and model for the metrics, by rule and charger for whoever looks at one.

Mending is always done; a word of the charger says that it was to be expected. What is expected is counted apart, its
original is not kept aside, and strict mode allows it. Counts live in memory and begin with the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from csms.app.stations import Station
from firmware_profiles.quirks import METER_VALUE_OBJECT, NUMBERS_FOR_STRINGS, UNKNOWN_ERROR_CODE_AS_TEXT

# Which mending a word announces; the rules are those of `ocpprepair.RULES`.
ANNOUNCED: Final[Mapping[str, frozenset[str]]] = {
    METER_VALUE_OBJECT: frozenset({"object_for_array", "array_for_object", "bare_sample"}),
    NUMBERS_FOR_STRINGS: frozenset(
        {"number_for_string", "string_for_number", "string_for_boolean", "float_for_integer", "number_for_time"}
    ),
    UNKNOWN_ERROR_CODE_AS_TEXT: frozenset({"unknown_word_is_other"}),
}
_MOST_MODELS: Final = 300  # a label per model: who invents names at every boot must not fill the memory
_OTHERS: Final = "other models"
_LONGEST_MODEL: Final = 60
_MOST_RULES: Final = 100
_OTHER_RULES: Final = "others"


class Oddities:
    """The counts of one process."""

    def __init__(self) -> None:
        self.by_model: Counter[tuple[str, str, str]] = Counter()  # (kind, rule, model)
        self._by_station: dict[str, Counter[tuple[str, str]]] = {}
        self._models: set[str] = set()

    def repaired(self, station: Station, rules: Iterable[str]) -> bool:
        """Count the rules by which a frame was mended; whether its words announced all of them."""
        expected = is_announced(station.quirks, rules)
        for rule in rules:
            self._count(station, "expected" if expected else "repaired", rule)
        return expected

    def quarantined(self, station: Station, action: str) -> None:
        """Count a frame that nobody could mend."""
        self._count(station, "quarantined", action)

    def ignored(self, station: Station, why: str) -> None:
        """Count a frame that was none."""
        self._count(station, "ignored", why)

    def noted(self, station: Station, what: str) -> None:
        """Count something odd that needed no mending."""
        self._count(station, "noted", what)

    def of(self, station_id: str) -> dict[str, dict[str, int]]:
        """What one charger got wrong: kind -> rule -> how often."""
        found: dict[str, dict[str, int]] = {}
        for (kind, rule), count in sorted(self._by_station.get(station_id, Counter()).items()):
            found.setdefault(kind, {})[rule] = count
        return found

    def _count(self, station: Station, kind: str, rule: str) -> None:
        self.by_model[kind, rule, self._model(station)] += 1
        counts = self._by_station.setdefault(station.id, Counter())
        key = (kind, rule) if (kind, rule) in counts or len(counts) < _MOST_RULES else (kind, _OTHER_RULES)
        counts[key] += 1

    def _model(self, station: Station) -> str:
        name = f"{station.vendor or 'unknown'} {station.model or ''}".strip()[:_LONGEST_MODEL]
        if name in self._models or len(self._models) < _MOST_MODELS:
            self._models.add(name)
            return name
        return _OTHERS


def is_announced(quirks: frozenset[str], rules: Iterable[str]) -> bool:
    """Whether the words of a charger say that its frames need just this mending."""
    allowed = {rule for word, announced in ANNOUNCED.items() if word in quirks for rule in announced}
    return allowed.issuperset(rules)
