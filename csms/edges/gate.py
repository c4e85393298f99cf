"""Who may connect: known chargers, with the credentials of their security profile; and what happens when they do.

Passwords are kept as argon2 hashes. After a first success a keyed digest of the password is remembered in memory, so
that a reconnect storm does not cost a hash per charger (88 ms each, STACK 13).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from csms.app.answers import RawAnswer
from csms.app.charging import Charging
from csms.app.stations import Station, Stations, fold
from csms.domain.refusal import Refusal, Why
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.handshake import Admission, Attempt, Credentials, PingPolicy
from csms.edges.ocppj.link import REPLACED, Link
from csms.ports import Clock, Fact, Store, Table, Tx

log = structlog.get_logger()

NO_SERVER_PING = "no_server_ping"
_PRINTABLE = range(0x20, 0x7F)
_KEPT_ATTEMPTS = 200


class Passwords:
    """Hashing and checking of Basic passwords."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._key = secrets.token_bytes(32)
        self._known: dict[str, bytes] = {}  # stored hash -> keyed digest of the password that fitted it

    async def hash(self, password: str) -> str:
        """The stored form."""
        return await asyncio.to_thread(self._hasher.hash, password)

    async def fits(self, stored: str, candidates: list[bytes]) -> bool:
        """Whether one of the candidates is the password behind `stored`."""
        known = self._known.get(stored)
        digests = [hashlib.blake2b(candidate, key=self._key, digest_size=32).digest() for candidate in candidates]
        if known is not None:
            # A wrong password must not cost a hash either, or a storm of them would stop the node.
            return any(hmac.compare_digest(known, digest) for digest in digests)
        for candidate, digest in zip(candidates, digests, strict=True):
            try:
                await asyncio.to_thread(self._hasher.verify, stored, candidate)
            except (VerificationError, InvalidHashError):
                continue
            self._known[stored] = digest
            return True
        return False


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
        accept_unknown: str,
        window_s: int,
        default_version: str,
        ping_interval_s: float,
        silence_s: float,
        on_new: Callable[[], None],
        count_refused: Callable[[str], None],
    ) -> None:
        self._store = store
        self._stations = stations
        self._charging = charging
        self._clock = clock
        self._passwords = passwords
        self._accept_unknown = accept_unknown
        self._window_s = window_s
        self._opened_ms = clock.now_ms()
        self._default_version = Version(default_version)
        self._ping_interval_s = ping_interval_s
        self._silence_s = silence_s
        self._on_new = on_new
        self._count_refused = count_refused
        self._admissions = 0
        self._adding = asyncio.Lock()
        self.refused: deque[tuple[int, str | None, str, str]] = deque(maxlen=_KEPT_ATTEMPTS)

    # -- before the upgrade

    async def admit(self, attempt: Attempt) -> Admission:
        """The word on one attempt."""
        station = self._stations.get(attempt.identity)
        if station is None:
            if not self._accepts_unknown():
                sentence = f"There is no charger {attempt.identity} here; add it, or open the window for new chargers."
                return Admission.refuse(404, sentence)
            station = await self._add(attempt)
        if station.reloading:
            return Admission.refuse(503, "The central system is catching up; please come back in a moment.")
        problem = await self._check_profile(station, attempt)
        if problem is not None:
            return problem
        self._admissions += 1
        transport = next((v for v in Version if v.value == station.transport), self._default_version)
        ping = None if NO_SERVER_PING in station.quirks or not self._ping_interval_s else self._ping_interval_s
        silence_s = None if NO_SERVER_PING in station.quirks else self._silence_s
        return Admission.accept(
            station, epoch=self._admissions, default_version=transport, ping=PingPolicy(ping, silence_s)
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
            self._on_new()
            return station

    async def _check_profile(self, station: Station, attempt: Attempt) -> Admission | None:
        profile = station.security_profile
        if profile >= 2 and not attempt.is_tls:
            return Admission.refuse(403, f"This charger uses security profile {profile}: it must come over TLS.")
        if profile == 0:
            return None
        if profile == 1 and attempt.is_tls:
            return Admission.refuse(403, "This charger uses security profile 1: it must come without TLS.")
        credentials = attempt.credentials
        if credentials is None:
            return Admission.refuse(401, "This charger must give its Basic credentials.")
        if fold(credentials.user) != fold(station.id):
            return Admission.refuse(401, "The Basic user name is not the charger's identity.")
        candidates = _candidates(credentials)
        if station.password_hash is not None and await self._passwords.fits(station.password_hash, candidates):
            return None
        pending = station.password_pending_hash
        if pending is not None and await self._passwords.fits(pending, candidates):
            await self._promote(station, pending)
            return None
        return Admission.refuse(401, "The password is wrong.")

    async def _promote(self, station: Station, pending: str) -> None:
        """The charger took the new password although its answer was lost: the old one is over (A01.FR.03)."""
        values = {"password_hash": pending, "password_pending_hash": None}
        await self._store.transact(
            lambda tx: tx.change(Table.STATIONS, values, id=station.id, password_pending_hash=pending)
        )
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

    async def rotate(self, station_id: str, password: str | None, push: bool) -> Mapping[str, Any]:
        """Set a new password, on the charger first when `push`. The answer tells what happened; raises Refusal."""
        station = self._stations.get(station_id)
        if station is None:
            raise Refusal(Why.UNKNOWN_STATION, f"there is no charger {station_id}")
        made = password or secrets.token_hex(16)
        if not 16 <= len(made) <= 40:
            raise Refusal(Why.INVALID_REQUEST, "the password must have 16 to 40 characters")
        stored = await self._passwords.hash(made)
        if push:
            if not station.online:
                raise Refusal(Why.STATION_OFFLINE, "the charger is offline; use push=false to set it here only")
            await self._set(station, pending=stored)
            answer: RawAnswer = await self._push(station, made)
            status = _accepted(answer)
            if status != "Accepted":
                # Not heard of, or taken at the next boot: both hold until the charger comes with the new one.
                is_open = status == "RebootRequired" or answer.status not in {"answered", "call_error"}
                if not is_open:
                    await self._set(station, pending=None)
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
    response = answer.response
    if "setVariableResult" in response:
        return str(response["setVariableResult"][0].get("attributeStatus"))
    return str(response.get("status")) or json.dumps(response)
