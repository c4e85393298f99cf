"""Who may connect: known chargers, with the credentials of their security profile; and what happens when they do.

Passwords are kept as argon2 hashes. After a first success a keyed digest of the password is remembered in memory, so
that a reconnect storm does not cost a hash per charger (88 ms each, STACK 13).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from csms.app.answers import RawAnswer
from csms.app.certificates import Certificates
from csms.app.charging import Charging
from csms.app.stations import Station, Stations, fold
from csms.domain.certificate import State as CertificateState
from csms.domain.certificate import names_of, peer_problem
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppcalls import UNREADABLE
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.handshake import Admission, Attempt, Credentials, Pace, PingPolicy
from csms.edges.ocppj.link import REPLACED, Link
from csms.pki.reading import BadCertificate, named_in_der
from csms.ports import Clock, Fact, Store, Table, Tx
from firmware_profiles.quirks import (
    DEFAULT_SUBPROTOCOL,
    ID_FROM_QUERY,
    NO_LATE_CONF,
    NO_SERVER_PING,
    ONE_COMMAND_PER_10S,
    PASSWORD_HEX_AS_TEXT,
    TLS_RELIC,
    value_of,
)

log = structlog.get_logger()

_PRINTABLE = range(0x20, 0x7F)
_COMMAND_PAUSE_S = 10.0  # the word says it: one_command_per_10s
_LATEST_ANSWER_S = 25.0  # chargers give a question up after 30 s and more (OCPP.md 6.1 MessageTimeout)
_HEARTBEATS_MISSED = 3
_SHORTEST_SILENCE_S = 180.0
_KEPT_ATTEMPTS = 200
# Of 88 ms a look (four, for a hexadecimal password that is wrong), within the time a handshake has.
_LOOKS_AT_ONCE = 2
_MOST_LOOKS = 50
_WRONG_FREELY = 5
_REST_S = 2.0
_MADE = "$made-b2$"  # before a digest of a password that was made here


class Busy(Exception):
    """The password cannot be looked at now; a moment later it can."""


class Passwords:
    """Hashing and checking of Basic passwords.

    A look at a password nobody remembers is dear, and strangers can ask for one: looks have threads of their own,
    only so many wait, each charger has one at a time, and one that is often wrong waits between two.
    """

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._hasher = PasswordHasher()
        self._steady_s = steady_s
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}  # stored hash -> keyed digest of the password that fitted it
        self._wrong: dict[str, tuple[int, float]] = {}  # stored hash -> how often wrong in a row, and when last
        self._looking: set[str] = set()
        self._threads = ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="passwords")

    async def hash(self, password: str) -> str:
        """The stored form of a password that a person chose."""
        return await asyncio.to_thread(self._hasher.hash, password)

    @staticmethod
    def digest(made: str) -> str:
        """The stored form of one that was made here by chance: nobody guesses 128 bits however cheap a guess is, and
        after a restart a whole network of chargers comes at once."""
        salt = secrets.token_hex(16)
        return f"{_MADE}{salt}${_digest(salt, made.encode())}"

    async def fits(self, stored: str, candidates: list[bytes]) -> bool:
        """Whether one of the candidates is the password behind `stored`. Raises Busy."""
        if stored.startswith(_MADE):
            salt, _, digest = stored.removeprefix(_MADE).partition("$")
            return any(hmac.compare_digest(_digest(salt, candidate), digest) for candidate in candidates)
        known = self._known.get(stored)
        digests = [hashlib.blake2b(candidate, key=self._key, digest_size=32).digest() for candidate in candidates]
        if known is not None:
            # A wrong password must not cost a hash either, or a storm of them would stop the node.
            return any(hmac.compare_digest(known, digest) for digest in digests)
        often, last_s = self._wrong.get(stored, (0, 0.0))
        is_resting = often >= _WRONG_FREELY and self._steady_s() - last_s < _REST_S
        if is_resting or stored in self._looking or len(self._looking) >= _MOST_LOOKS:
            raise Busy
        self._looking.add(stored)
        try:
            fitting = await asyncio.get_running_loop().run_in_executor(self._threads, self._look, stored, candidates)
        finally:
            self._looking.discard(stored)
        if fitting is None:
            self._wrong[stored] = often + 1, self._steady_s()
            return False
        self._known[stored] = digests[fitting]
        self._wrong.pop(stored, None)
        return True

    def _look(self, stored: str, candidates: list[bytes]) -> int | None:
        """In a thread: which candidate it is."""
        for number, candidate in enumerate(candidates):
            try:
                self._hasher.verify(stored, candidate)
            except (VerificationError, InvalidHashError):
                continue
            return number
        return None


def _digest(salt: str, password: bytes) -> str:
    return hashlib.blake2b(password, salt=bytes.fromhex(salt), digest_size=32).hexdigest()


@dataclass(frozen=True, slots=True)
class _Entry:
    """A charger may come in; whom its certificate names, when it was that which opened the door."""

    common_name: str | None = None


class Gate:
    """Admission, opening and closing of links."""

    def __init__(
        self,
        *,
        store: Store,
        stations: Stations,
        charging: Charging,
        clock: Clock,
        passwords: Passwords,
        certificates: Certificates,
        organization: str | None,
        accept_unknown: str,
        window_s: int,
        default_version: str,
        ping_interval_s: float,
        silence_s: float,
        heartbeat_s: int,
        heartbeat_of: Callable[[Station], int | None],
        strict: bool,
        on_new: Callable[[str], None],
        count_refused: Callable[[str], None],
    ) -> None:
        self._store = store
        self._stations = stations
        self._charging = charging
        self._clock = clock
        self._passwords = passwords
        self._certificates = certificates
        self._organization = organization
        self._accept_unknown = accept_unknown
        self._window_s = window_s
        self._opened_ms = clock.now_ms()
        self._default_version = Version(default_version)
        self._ping_interval_s = ping_interval_s
        self._silence_s = silence_s
        self._heartbeat_s = heartbeat_s
        self._heartbeat_of = heartbeat_of
        self._strict = strict
        self._on_new = on_new
        self._count_refused = count_refused
        self._admissions = 0
        self._adding = asyncio.Lock()
        self.refused: deque[tuple[int, str | None, str, str]] = deque(maxlen=_KEPT_ATTEMPTS)

    # -- before the upgrade

    async def admit(self, attempt: Attempt) -> Admission:
        """The word on one attempt."""
        station = self._called(attempt)
        if attempt.is_relic and (station is None or TLS_RELIC not in station.quirks):
            sentence = "This port is for chargers that are known to speak no newer TLS; use the other one."
            return Admission.refuse(403, sentence)
        if station is None and not attempt.has_path_identity:
            return Admission.refuse(404, "The path names no charger; its last segment is the charger's identity.")
        if station is None:
            if not self._accepts_unknown():
                sentence = f"There is no charger {attempt.identity} here; add it, or open the window for new chargers."
                return Admission.refuse(404, sentence)
            station = await self._add(attempt)
        if station.reloading:
            return Admission.refuse(503, "The central system is catching up; please come back in a moment.")
        entry = await self._enter(station, attempt)
        if isinstance(entry, Admission):
            return entry
        self._admissions += 1
        return Admission.accept(
            station,
            epoch=self._admissions,
            default_version=self._version_of(station),
            ping=self._ping_of(station),
            pace=self._pace_of(station),
            peer_name=entry.common_name,
            identity=station.id if station is not self._stations.get(attempt.identity) else None,
        )

    def _called(self, attempt: Attempt) -> Station | None:
        """The station that knocks, under the name in its path or, where that is known of it, in its query."""
        if attempt.query_identity is not None:
            named = self._stations.get(attempt.query_identity)
            if named is not None and ID_FROM_QUERY in named.quirks:
                return named
        return self._stations.get(attempt.identity) if attempt.has_path_identity else None

    def _version_of(self, station: Station) -> Version:
        """What it speaks when it does not say: by its quirk, else as the last time."""
        spoken = value_of(station.quirks, DEFAULT_SUBPROTOCOL)
        name = station.transport if spoken is None else f"ocpp{spoken}"
        return next((version for version in Version if version.value == name), self._default_version)

    def _ping_of(self, station: Station) -> PingPolicy:
        if NO_SERVER_PING in station.quirks:
            # Its heartbeats stand in for pongs (OCPP.md 6.2: the online flag).
            heartbeat_s = self._heartbeat_of(station) or self._heartbeat_s
            return PingPolicy(None, max(_HEARTBEATS_MISSED * heartbeat_s, _SHORTEST_SILENCE_S))
        return PingPolicy(self._ping_interval_s or None, self._silence_s)

    @staticmethod
    def _pace_of(station: Station) -> Pace:
        return Pace(
            _COMMAND_PAUSE_S if ONE_COMMAND_PER_10S in station.quirks else 0.0,
            _LATEST_ANSWER_S if NO_LATE_CONF in station.quirks else None,
        )

    def _accepts_unknown(self) -> bool:
        if self._accept_unknown == "window":
            return self._clock.now_ms() - self._opened_ms <= self._window_s * 1000
        return self._accept_unknown == "always"

    async def _add(self, attempt: Attempt) -> Station:
        now_ms = self._clock.now_ms()
        async with self._adding:
            known = self._stations.get(attempt.identity)
            if known is not None:
                return known

            def work(tx: Tx) -> None:
                row = {"id": attempt.identity, "id_folded": fold(attempt.identity), "created_ms": now_ms}
                if tx.take(Table.STATIONS, id_folded=row["id_folded"]) is None:
                    tx.add(Table.STATIONS, {**row, "no": tx.next_no("station")})
                else:
                    tx.change(Table.STATIONS, {"deleted": 0}, id_folded=row["id_folded"])
                body = {"remote": attempt.remote, "how": self._accept_unknown}
                tx.append([Fact("StationAdded", now_ms, body, station=attempt.identity)])

            await self._store.transact(work)
            station = await self._stations.reload(attempt.identity)
            assert station is not None
            self._on_new(attempt.identity)
            return station

    async def _enter(self, station: Station, attempt: Attempt) -> _Entry | Admission:
        """By the profile that was asked of the charger, which counts from its first connection with it; else by the
        one in force. There is no way back: from then on the lower one is refused (A05.FR.07)."""
        pending = station.security_profile_pending
        if pending is not None and pending > station.security_profile:
            entry = await self._check(station, attempt, pending)
            if isinstance(entry, _Entry):
                await self._raise_profile(station, pending)
                return entry
        return await self._check(station, attempt, station.security_profile)

    async def _check(self, station: Station, attempt: Attempt, profile: int) -> _Entry | Admission:
        """By the rules of one profile (A00.FR.002: one per connection)."""
        if profile >= 2 and not attempt.is_tls:
            return Admission.refuse(403, f"This charger uses security profile {profile}: it must come over TLS.")
        if profile == 1 and attempt.is_tls:
            return Admission.refuse(403, "This charger uses security profile 1: it must come without TLS.")
        if profile == 0:
            return _Entry()
        if profile == 3:
            return await self._check_certificate(station, attempt)
        return await self._check_password(station, attempt)

    async def _check_certificate(self, station: Station, attempt: Attempt) -> _Entry | Admission:
        """The chain was judged by TLS, perhaps long ago: a resumed session brings its certificate along unchecked."""
        if attempt.peer_certificate_der is None:
            return Admission.refuse(403, "This charger uses security profile 3: it must bring its certificate.")
        try:
            about = named_in_der(attempt.peer_certificate_der)
        except BadCertificate as unreadable:
            return Admission.refuse(403, f"The charger's certificate is of no use: {unreadable}.")
        if (untimely := about.problem_at(self._clock.now_ms())) is not None:
            return Admission.refuse(403, f"The charger's certificate {untimely}.")
        problem = peer_problem(
            names=names_of(station.id, station.serial),
            common_name=about.common_name,
            organization=self._organization,
            organizations=about.organizations,
        )
        if problem is not None:
            return Admission.refuse(403, problem)
        try:
            state = await self._certificates.presented(station.id, about.serial, attempt.peer_certificate_der)
        except BadCertificate as foreign:
            return Admission.refuse(403, f"The charger's certificate is of no use: {foreign}.")
        if state == CertificateState.REVOKED:
            return Admission.refuse(403, "The charger's certificate was revoked.")
        return _Entry(about.common_name)

    async def _check_password(self, station: Station, attempt: Attempt) -> _Entry | Admission:
        credentials = attempt.credentials
        if credentials is None:
            return Admission.refuse(401, "This charger must give its Basic credentials.")
        if fold(credentials.user) != fold(station.id):
            return Admission.refuse(401, "The Basic user name is not the charger's identity.")
        candidates = _candidates(credentials)
        if self._strict and PASSWORD_HEX_AS_TEXT not in station.quirks:
            candidates = candidates[:1]
        try:
            if station.password_hash is not None and await self._passwords.fits(station.password_hash, candidates):
                return _Entry()
            pending = station.password_pending_hash
            if pending is not None and await self._passwords.fits(pending, candidates):
                await self._promote(station, pending)
                return _Entry()
        except Busy:
            return Admission.refuse(503, "Too many passwords are to be looked at; please come back in a moment.")
        return Admission.refuse(401, "The password is wrong.")

    async def _promote(self, station: Station, pending: str) -> None:
        """The charger took the new password although its answer was lost: the old one is over (A01.FR.03)."""
        values = {"password_hash": pending, "password_pending_hash": None}
        await self._store.transact(
            lambda tx: tx.change(Table.STATIONS, values, id=station.id, password_pending_hash=pending)
        )
        await self._stations.refresh(station.id)

    async def _raise_profile(self, station: Station, profile: int) -> None:
        """The charger has come with the profile that was asked of it: it is in force (A05)."""
        now_ms, before = self._clock.now_ms(), station.security_profile

        def work(tx: Tx) -> None:
            values = {"security_profile": profile, "security_profile_pending": None}
            if tx.change(Table.STATIONS, values, id=station.id, security_profile_pending=profile):
                body = {"before": before, "after": profile}
                tx.append([Fact("SecurityProfileChanged", now_ms, body, station=station.id)])

        await self._store.transact(work)
        await self._stations.refresh(station.id)

    def on_refused(self, identity: str | None, reason: str, remote: str) -> None:
        """Every attempt that came to nothing, for whoever asks why a charger does not appear."""
        now_ms = self._clock.now_ms()
        self.refused.append((now_ms, identity, reason, remote))
        self._count_refused("unknown" if identity is None or self._stations.get(identity) is None else "known")
        log.info("link.refused", station=identity, reason=reason, remote=remote)

    # -- after it

    def on_open(self, link: Link) -> None:
        """A link is open; whatever link this charger had before is history."""
        station: Station = link.context
        now_ms = self._clock.now_ms()
        if isinstance(station.link, Link):
            # It came under another spelling of the identity, so the listener did not know it for the same charger.
            older = station.link
            station.link = None
            self._charging.link_down(station, now_ms, older.last_seen_ms)
            older.close(REPLACED, "replaced")
        station.link = link
        station.transport = link.version.value
        self._charging.link_up(station, now_ms)
        log.info("link.opened", station=station.id, version=link.version.value, epoch=station.epoch, remote=link.remote)

    def on_version(self, link: Link) -> None:
        """It offered no subprotocol, and what was taken for granted was wrong: now it is known, and kept."""
        station: Station = link.context
        station.transport = link.version.value
        log.info("link.version", station=station.id, version=link.version.value)

    def on_boot(self, link: Link) -> None:
        """It has said what it is: this link is treated by its profile from now on."""
        station: Station = link.context
        link.follow(self._ping_of(station), self._pace_of(station))

    def on_close(self, link: Link, code: int) -> None:
        """A link is gone. One that was replaced releases nothing: the newer one stands."""
        station = self._stations.get(link.context.id) or link.context
        if station.link is not link:
            return
        station.link = None
        if station.reloading:
            return  # its memory may hold what the disk refused; whoever reads it again sees that the link is gone
        self._charging.link_down(station, self._clock.now_ms(), link.last_seen_ms)
        log.info("link.closed", station=station.id, code=code)


def _candidates(credentials: Credentials) -> list[bytes]:
    """The password as sent, and read the other way: a 1.6 AuthorizationKey is set as hexadecimal text and some
    chargers send the text, others the bytes it means, whichever of the two was registered here."""
    found = [credentials.password]
    if credentials.password_from_hex is not None:
        found += [credentials.password_from_hex, credentials.password.lower(), credentials.password.upper()]
    elif any(byte not in _PRINTABLE for byte in credentials.password):
        text = credentials.password.hex().encode()
        found += [text, text.upper()]
    return list(dict.fromkeys(found))


class Rotation:
    """Changing a charger's Basic password without locking it out (A01): the old one holds until it accepted."""

    def __init__(self, *, store: Store, stations: Stations, passwords: Passwords, raw: Callable[..., Any]) -> None:
        self._store = store
        self._stations = stations
        self._passwords = passwords
        self._raw = raw
        self._under_way: set[str] = set()

    async def rotate(self, station_id: str, password: str | None, push: bool) -> Mapping[str, Any]:
        """Set a new password, on the charger first when `push`. The answer tells what happened; raises Refusal."""
        station = self._stations.known(station_id)
        if station.id in self._under_way:
            # There is room for one that is pending: the charger could end up with the other.
            raise Refusal(Why.WRONG_STATE, "its password is being changed already; wait for the end of that")
        self._under_way.add(station.id)
        try:
            return await self._rotate(station, password, push)
        finally:
            self._under_way.discard(station.id)

    async def _rotate(self, station: Station, password: str | None, push: bool) -> Mapping[str, Any]:
        made = password or secrets.token_hex(16)
        if not 16 <= len(made) <= 40:
            raise Refusal(Why.INVALID_REQUEST, "the password must have 16 to 40 characters")
        stored = await self._passwords.hash(password) if password else self._passwords.digest(made)
        if push:
            if not station.online:
                raise Refusal(Why.STATION_OFFLINE, "the charger is offline; use push=false to set it here only")
            before = station.password_pending_hash  # of a change that the charger has not answered
            await self._set(station, pending=stored)
            answer: RawAnswer = await self._push(station, made)
            status = _accepted(answer)
            if status != "Accepted":
                # Not heard of, not understood, or taken at the next boot: both hold until it comes with the new one.
                is_open = status in {"RebootRequired", UNREADABLE} or answer.status not in {"answered", "call_error"}
                if not is_open:
                    await self._set(station, pending=before)
                shown = {"password": made} if is_open and not password else {}
                return {"status": status, "changed": False, "pending": is_open, **shown}
        await self._set(station, current=stored, pending=None)
        return {"status": "Accepted", "changed": True, "pending": False, **({} if password else {"password": made})}

    async def _push(self, station: Station, password: str) -> RawAnswer:
        if station.transport == Version.V16.value:
            payload = {"key": "AuthorizationKey", "value": password}
            answer: RawAnswer = await self._raw(station.id, "ChangeConfiguration", payload, timeout_s=30)
            return answer
        variable = {
            "component": {"name": "SecurityCtrlr"},
            "variable": {"name": "BasicAuthPassword"},
            "attributeValue": password,
        }
        answered: RawAnswer = await self._raw(station.id, "SetVariables", {"setVariableData": [variable]}, timeout_s=30)
        return answered

    async def _set(self, station: Station, **hashes: str | None) -> None:
        names = {"current": "password_hash", "pending": "password_pending_hash"}
        values = {names[which]: value for which, value in hashes.items()}
        await self._store.transact(lambda tx: tx.change(Table.STATIONS, values, id=station.id))
        await self._stations.refresh(station.id)


def _accepted(answer: RawAnswer) -> str:
    if answer.status != "answered" or not isinstance(answer.response, dict):
        return answer.status
    results = answer.response.get("setVariableResult")
    told = results[0] if isinstance(results, list) and results and isinstance(results[0], dict) else answer.response
    word = told.get("attributeStatus") or told.get("status")
    return word if isinstance(word, str) else UNREADABLE
