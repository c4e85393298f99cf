"""What stands on tax documents beside the price: who sells under which number, codes, the split of the tax. Dated.

A price carries its tax already: the tariff's percent made it, and nothing here changes it. An entry says how that tax
is named and to whom it goes, and from when: the one in force at the time of supply counts, however late the document
is made. Two states decide the split: within one state half goes to the centre (CGST) and half to the state (SGST),
between two everything is IGST.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from csms.domain.units import ZERO, local

STATES: Final[dict[str, str]] = {
    "01": "Jammu and Kashmir", "02": "Himachal Pradesh", "03": "Punjab", "04": "Chandigarh", "05": "Uttarakhand",
    "06": "Haryana", "07": "Delhi", "08": "Rajasthan", "09": "Uttar Pradesh", "10": "Bihar", "11": "Sikkim",
    "12": "Arunachal Pradesh", "13": "Nagaland", "14": "Manipur", "15": "Mizoram", "16": "Tripura",
    "17": "Meghalaya", "18": "Assam", "19": "West Bengal", "20": "Jharkhand", "21": "Odisha", "22": "Chhattisgarh",
    "23": "Madhya Pradesh", "24": "Gujarat", "26": "Dadra and Nagar Haveli and Daman and Diu", "27": "Maharashtra",
    "29": "Karnataka", "30": "Goa", "31": "Lakshadweep", "32": "Kerala", "33": "Tamil Nadu", "34": "Puducherry",
    "35": "Andaman and Nicobar Islands", "36": "Telangana", "37": "Andhra Pradesh", "38": "Ladakh",
    "97": "Other Territory",
}  # fmt: skip
"""The codes a GSTIN begins with."""
WITHOUT_LEGISLATURE: Final = frozenset({"04", "26", "31", "35", "38", "97"})
"""Union territories whose half of the tax is called UTGST."""

_LETTERS: Final[dict[str, str]] = {
    "JK": "01", "HP": "02", "PB": "03", "CH": "04", "UK": "05", "UT": "05", "HR": "06", "DL": "07", "RJ": "08",
    "UP": "09", "BR": "10", "SK": "11", "AR": "12", "NL": "13", "MN": "14", "MZ": "15", "TR": "16", "ML": "17",
    "AS": "18", "WB": "19", "JH": "20", "OD": "21", "OR": "21", "CG": "22", "CT": "22", "MP": "23", "GJ": "24",
    "DN": "26", "DD": "26", "DH": "26", "MH": "27", "KA": "29", "GA": "30", "LD": "31", "KL": "32", "TN": "33",
    "PY": "34", "AN": "35", "TS": "36", "TG": "36", "AP": "37", "LA": "38",
}  # fmt: skip
_OTHER_NAMES: Final[dict[str, str]] = {
    "NEWDELHI": "07", "NCTOFDELHI": "07", "ORISSA": "21", "PONDICHERRY": "34", "UTTARANCHAL": "05",
    "CHATTISGARH": "22", "DADRAANDNAGARHAVELI": "26", "DAMANANDDIU": "26", "ANDAMANANDNICOBAR": "35",
    "TAMILNADU": "33",
}  # fmt: skip
_GSTIN: Final = re.compile(r"[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]")
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIRST_MONTH_OF_YEAR: Final = 4  # the financial year of India is April to March


class PlaceOfSupply(StrEnum):
    """Which state counts as the place of supply."""

    BUYER = "buyer"  # of a registered buyer, else the one the buyer names, else the station's
    STATION = "station"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The seller in one state. `state` is the two digits a GSTIN begins with; `series` stands in document numbers."""

    state: str
    address: str
    gstin: str | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"{self.state!r} is no state: the two digits a GSTIN begins with are meant")
        if self.gstin is not None and not is_gstin(self.gstin):
            raise ValueError(f"{self.gstin} is no GSTIN: its check digit or its form is wrong")
        if self.gstin is not None and self.gstin[:2] != self.state:
            raise ValueError(f"the GSTIN {self.gstin} is not of the state {self.state}")
        if self.series is not None and not re.fullmatch(r"[A-Z0-9]{1,2}", self.series):
            raise ValueError("a series is one or two capital letters or digits: numbers have 16 places at most")

    @property
    def sign(self) -> str:
        """What its numbers are known by."""
        return self.series or self.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Withholding:
    """Tax that a buyer app deducts at source from what it passes on, e.g. under section 194-O."""

    section: str
    percent: Decimal

    def __post_init__(self) -> None:
        if not ZERO <= self.percent <= 100:
            raise ValueError("a percentage lies between 0 and 100")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxEntry:
    """What holds from `valid_from_ms` on. The first registration is the head office: it sells where no other does."""

    valid_from_ms: int
    seller: str
    registrations: tuple[Registration, ...]
    rate_percent: Decimal
    code: str = "998714"
    description: str = "Electric vehicle charging"
    place_of_supply: PlaceOfSupply = PlaceOfSupply.BUYER
    zone: str = "Asia/Kolkata"
    withholding: Withholding | None = None
    footer: str | None = None

    def __post_init__(self) -> None:
        if not self.registrations:
            raise ValueError("a seller needs at least one registration, with its state and address")
        for what, found in (
            ("state", [one.state for one in self.registrations]),
            ("series", [one.sign for one in self.registrations]),
        ):
            if len(found) != len(set(found)):
                raise ValueError(f"two registrations have the same {what}")
        if not ZERO <= self.rate_percent <= 100:
            raise ValueError("a percentage lies between 0 and 100")
        ZoneInfo(self.zone)

    def seller_in(self, state: str | None) -> Registration:
        """Who sells at a station of this state."""
        return next((one for one in self.registrations if one.state == state), self.registrations[0])


def entry_at(entries: Iterable[TaxEntry], at_ms: int) -> TaxEntry | None:
    """The entry in force at an instant; None before the first."""
    begun = [entry for entry in entries if entry.valid_from_ms <= at_ms]
    return max(begun, key=lambda entry: entry.valid_from_ms, default=None)


def is_gstin(text: str) -> bool:
    """Whether it is a GSTIN, its last place being the check digit (base 36, Luhn)."""
    if not _GSTIN.fullmatch(text) or text[:2] not in STATES:
        return False
    total = 0
    for place, sign in enumerate(text[:14]):
        product = _DIGITS.index(sign) * (1 + place % 2)
        total += product // 36 + product % 36
    return _DIGITS[-total % 36] == text[14]


def state_of(text: str | None) -> str | None:
    """The two digits of a state as people write it: `29`, `KA`, `IN-KA`, `Karnataka`. None for what is no state."""
    if not text:
        return None
    plain = re.sub(r"[^A-Z0-9]", "", text.upper().replace("&", "AND"))
    if plain in STATES:
        return plain
    if len(plain) == 4 and plain.startswith("IN"):
        plain = plain[2:]
    if plain in _LETTERS:
        return _LETTERS[plain]
    if plain in _OTHER_NAMES:
        return _OTHER_NAMES[plain]
    return next((code for code, name in STATES.items() if re.sub(r"[^A-Z]", "", name.upper()) == plain), None)


def financial_year(at_ms: int, zone: str) -> str:
    """`2627` for November 2026: the year that begins in April."""
    at = local(at_ms, zone)
    first = at.year if at.month >= FIRST_MONTH_OF_YEAR else at.year - 1
    return f"{first % 100:02d}{(first + 1) % 100:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxLine:
    """One named part of the tax, in paise."""

    label: str
    percent: Decimal
    amount_minor: int


def split(tax_minor: int, percent: Decimal, *, seller_state: str, place: str) -> tuple[TaxLine, ...]:
    """The tax by who gets it; the parts add up to it exactly, an odd paisa goes to the centre."""
    if not tax_minor:
        return ()
    if seller_state != place:
        return (TaxLine(label="IGST", percent=percent, amount_minor=tax_minor),)
    state = abs(tax_minor) // 2 * (1 if tax_minor > 0 else -1)  # a note taken back splits as it was given
    half = percent / 2
    return (
        TaxLine(label="CGST", percent=half, amount_minor=tax_minor - state),
        TaxLine(label="UTGST" if place in WITHOUT_LEGISLATURE else "SGST", percent=half, amount_minor=state),
    )


def withheld_minor(base_minor: int, withholding: Withholding | None) -> int:
    """What is deducted at source from `base_minor`, rounded half up to the paisa."""
    if withholding is None:
        return 0
    return int((base_minor * withholding.percent / 100).quantize(Decimal(1), rounding="ROUND_HALF_UP"))


def sorted_entries(entries: Iterable[TaxEntry]) -> Sequence[TaxEntry]:
    """Oldest first. `ValueError` when two begin at once."""
    found = sorted(entries, key=lambda entry: entry.valid_from_ms)
    if len({entry.valid_from_ms for entry in found}) != len(found):
        raise ValueError("two entries begin at the same time")
    return found
