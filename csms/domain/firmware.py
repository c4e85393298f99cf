"""One charger's firmware update in one campaign, over the statuses of 1.6, 1.6 signed and 2.0.1 (L01, L02). Pure.

    WAITING -> ASKED -> DOWNLOADING -> DOWNLOADED -> INSTALLING -> INSTALLED
       ^          |          |              |             |
       +----------+----------+--------------+-------------+--> FAILED | CANCELLED

Statuses come late, twice or never, and a reboot may fall in between. So progress only counts forwards, a failure that
may pass makes it wait for another attempt, silence beyond the expected time does the same, and the version in the next
BootNotification proves what notices only claim: the image's version makes INSTALLED whatever was told or not told
before, the version from before takes a claimed INSTALLED back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

_MINUTE_MS: Final = 60_000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
# A charger that was asked and said nothing, not even yes, may have heard or not: asked again before long.
_UNSURE_MS: Final = 2 * _MINUTE_MS


class State(StrEnum):
    """How far it is."""

    WAITING = "waiting"  # for its turn, for the charger to be idle, or for the next attempt
    ASKED = "asked"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = State
UNDER_WAY: Final = frozenset({_S.ASKED, _S.DOWNLOADING, _S.DOWNLOADED, _S.INSTALLING})
OPEN: Final = UNDER_WAY | {_S.WAITING}
_RANK: Final = {_S.WAITING: 0, _S.ASKED: 1, _S.DOWNLOADING: 2, _S.DOWNLOADED: 3, _S.INSTALLING: 4}

_PROGRESS: Final = {
    "DownloadScheduled": _S.ASKED,
    "Downloading": _S.DOWNLOADING,
    "DownloadPaused": _S.DOWNLOADING,
    "Downloaded": _S.DOWNLOADED,
    "SignatureVerified": _S.DOWNLOADED,
    "InstallScheduled": _S.DOWNLOADED,
    "Installing": _S.INSTALLING,
    "InstallRebooting": _S.INSTALLING,
    "Installed": _S.INSTALLED,
}
# Waiting for a transaction to end, or for the time that was given, takes as long as it takes.
_SLOW: Final = frozenset({"DownloadScheduled", "DownloadPaused", "InstallScheduled"})
_MAY_PASS: Final = frozenset({"DownloadFailed", "InstallationFailed"})
_IS_FINAL: Final = frozenset({"InvalidSignature", "InstallVerificationFailed"})
# Answers to the request itself that no further attempt will change.
_NEVER: Final = frozenset({"InvalidCertificate", "RevokedCertificate", "NotSupported", "NotImplemented"})
_YES: Final = frozenset({"Accepted", "AcceptedCanceled"})


@dataclass(frozen=True, slots=True)
class Orders:
    """What a campaign says about every one of its updates."""

    window_ms: int = 2 * 60 * _MINUTE_MS  # an attempt that is silent for so long is over
    tries: int = 3
    retry_ms: int = 10 * _MINUTE_MS
    retrieve_ms: int | None = None  # not before; None: at once
    install_ms: int | None = None
    when_idle: bool = True  # not while a session is open at the charger
    replaces: bool = False  # also while another update is under way there
    at_once: int = 10
    stop_after: int = 3  # failures; 0: never

    def as_row(self) -> dict[str, Any]:
        """As it is stored."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Orders:
        """The inverse; members that were added since have their defaults."""
        return cls(**{name: row[name] for name in cls.__slots__ if name in row})


@dataclass(frozen=True, slots=True)
class Job:
    """One charger in one campaign. `due_ms`: WAITING: not before; under way: given up after that."""

    version: str  # the image's
    state: State = State.WAITING
    due_ms: int = 0
    attempts: int = 0
    request_id: int | None = None  # of the last attempt
    status: str | None = None  # the charger's own last word
    detail: str | None = None
    before: str | None = None  # the version it had when it was asked
    is_proven: bool = False  # a boot has shown the version
    requests: tuple[int, ...] = ()  # of all attempts

    @property
    def is_over(self) -> bool:
        """Nothing more is asked for it."""
        return self.state not in OPEN


# -- what happens to it


def asked(job: Job, now_ms: int, orders: Orders, *, request_id: int, before: str | None) -> Job:
    """An attempt begins; the call leaves after this is stored."""
    return replace(
        job,
        state=_S.ASKED,
        attempts=job.attempts + 1,
        request_id=request_id,
        requests=(*job.requests, request_id),
        due_ms=_deadline(now_ms, orders),
        before=before if job.before is None else job.before,
        status=None,
        detail=None,
        is_proven=False,
    )


def answered(job: Job, status: str, now_ms: int, orders: Orders) -> Job:
    """The charger's answer to the request itself: a status of UpdateFirmwareStatusEnum, or the code of an error."""
    if job.state is not _S.ASKED or job.status is not None:
        return job  # its first notice was quicker
    if status in _YES:
        return replace(job, status=status)
    if status in _NEVER:
        return replace(job, state=_S.FAILED, status=status, detail=f"the charger answered {status}")
    return _again(job, status, f"the charger answered {status}", now_ms, orders)


def not_answered(job: Job, now_ms: int) -> Job:
    """Nobody knows whether it heard: a notice will tell, or a further attempt."""
    if job.state is not _S.ASKED:
        return job
    return replace(job, due_ms=now_ms + _UNSURE_MS, detail="no answer")


def told(job: Job, status: str, now_ms: int, orders: Orders, *, request_id: int | None = None) -> Job:
    """A FirmwareStatusNotification. `request_id` None: 1.6 without signature, or sent on a trigger."""
    to = _PROGRESS.get(status)
    if to is _S.INSTALLED:
        return _installed(job, status)
    if job.is_over or job.attempts == 0 or job.status == status:
        return job
    if to is not None:
        # Waiting for another attempt of ours, and the charger tries again by itself: so it is under way.
        if _RANK[to] < _RANK[job.state]:
            return job
        slow_ms = _DAY_MS if status in _SLOW else 0
        return replace(job, state=to, status=status, detail=None, due_ms=_deadline(now_ms, orders) + slow_ms)
    is_old = request_id is not None and request_id != job.request_id
    if job.state is _S.WAITING or is_old:
        return job  # a failure counts once, and against its own attempt
    if status in _IS_FINAL:
        return replace(job, state=_S.FAILED, status=status, detail=f"the charger told {status}")
    if status in _MAY_PASS:
        return _again(job, status, f"the charger told {status}", now_ms, orders)
    return job


def booted(job: Job, version: str | None) -> Job:
    """A BootNotification with this firmware version, after the charger was asked."""
    if job.attempts == 0 or job.state is _S.CANCELLED or version is None:
        return job
    if version == job.version:
        # Before any sign of an installation this is a charger that had the version already, and only restarts.
        is_news = job.before != version or job.state in {_S.INSTALLING, _S.INSTALLED}
        return replace(job, state=_S.INSTALLED, is_proven=True, detail=None) if is_news else job
    if job.state is _S.INSTALLED and not job.is_proven and version == job.before:
        detail = f"it told Installed, but boots with {version}"
        return replace(job, state=_S.FAILED, detail=detail)
    if job.state in UNDER_WAY or job.state is _S.INSTALLED:
        return replace(job, detail=f"it boots with {version}")
    return job


def expired(job: Job, now_ms: int, orders: Orders) -> Job:
    """Its time is over without a word: another attempt, or the end."""
    if job.state not in UNDER_WAY or now_ms < job.due_ms:
        return job
    word = f"nothing was heard after {job.status or 'the request'}"
    return _again(job, job.status, f"{job.detail}; {word}" if job.detail else word, now_ms, orders)


def cancelled(job: Job, why: str) -> Job:
    """An operator, or a later update that the charger took instead."""
    return replace(job, state=_S.CANCELLED, detail=why) if not job.is_over else job


def _again(job: Job, status: str | None, detail: str, now_ms: int, orders: Orders) -> Job:
    if job.attempts >= orders.tries:
        return replace(job, state=_S.FAILED, status=status, detail=detail)
    due_ms = now_ms + orders.retry_ms * job.attempts
    return replace(job, state=_S.WAITING, status=status, detail=detail, due_ms=due_ms)


def _installed(job: Job, status: str) -> Job:
    """Also late, after we had given up: what the charger has done it has done."""
    if job.state in {_S.INSTALLED, _S.CANCELLED} or job.attempts == 0:
        return job
    return replace(job, state=_S.INSTALLED, status=status, detail=None)


def _deadline(now_ms: int, orders: Orders) -> int:
    return max(now_ms, orders.retrieve_ms or 0, orders.install_ms or 0) + orders.window_ms


# -- campaigns


def should_stop(orders: Orders, failed: int) -> bool:
    """Whether so many failures end a campaign."""
    return 0 < orders.stop_after <= failed


@dataclass(frozen=True, slots=True)
class Selection:
    """Which chargers a campaign is for. Whatever is given must fit; vendor, model and firmware may have `*` and `?`."""

    chargers: tuple[str, ...] = ()
    locations: tuple[str, ...] = ()
    vendor: str | None = None
    model: str | None = None
    firmware: str | None = None
    includes_same: bool = False  # also those that report the image's version already

    def fits(self, station: Mapping[str, Any], version: str) -> bool:
        """Whether a station's row is meant, for an image of this version."""
        if self.chargers and station["id"] not in self.chargers:
            return False
        if self.locations and station["location_id"] not in self.locations:
            return False
        if not self.includes_same and station["firmware"] == version:
            return False
        globs = ((self.vendor, "vendor"), (self.model, "model"), (self.firmware, "firmware"))
        return all(glob is None or _like(station[name], glob) for glob, name in globs)


def _like(value: str | None, glob: str) -> bool:
    return value is not None and fnmatchcase(value.casefold(), glob.casefold())
