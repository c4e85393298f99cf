"""The certificates we have issued to chargers, and those that chargers say they hold: their rows and their fates.

Everything here may be told twice: rows have ids made of what they are about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding

from csms.app.cases import open_case
from csms.domain.certificate import DELIVERABLE, FOR_US, GOOD, State, is_due
from csms.domain.refusal import Refusal, Why
from csms.pki.reading import ALGORITHMS, BadCertificate, chain_of, hash_data, issuer_in, named
from csms.ports import Clock, Fact, Row, Store, Table, Tx

ISSUED: Final = "issued"
INSTALLED: Final = "installed"
_NEWEST: Final = 100_000


class Certificates:
    """Rows of `certificates`, each change with its fact."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # -- issued

    async def requested(self, station: str, use: str, csr: str, key: str) -> None:
        """A charger asked for a certificate; `key` tells one request from another. An older request is dropped."""
        now_ms = self._clock.now_ms()
        row = _row(station, ISSUED, use, _id(station, ISSUED, key), State.REQUESTED, now_ms, pem=csr)

        def work(tx: Tx) -> None:
            if not tx.add(Table.CERTIFICATES, row):
                return
            for other in tx.many(
                Table.CERTIFICATES, station=station, role=ISSUED, use=use, state=[state.value for state in DELIVERABLE]
            ):
                if other["id"] != row["id"]:
                    _change(tx, other, now_ms, state=State.GONE, detail="the charger asked again")
            tx.append([_fact(row, now_ms)])

        await self._store.transact(work)

    async def deliverable(self, station: str) -> list[Row]:
        """What is still to be signed or taken to the charger, oldest first."""
        rows = await self._store.read(
            lambda tx: tx.many(
                Table.CERTIFICATES, station=station, role=ISSUED, state=[state.value for state in DELIVERABLE]
            )
        )
        return sorted(rows, key=lambda row: row["updated_ms"])

    async def waiting(self) -> set[str]:
        """The chargers for which something is still to be signed or delivered."""
        states = [state.value for state in DELIVERABLE]
        rows = await self._store.read(lambda tx: tx.many(Table.CERTIFICATES, role=ISSUED, state=states))
        return {row["station"] for row in rows}

    async def signed(self, certificate_id: str, chain: str) -> None:
        """The authority has signed. Raises BadCertificate when the chain cannot be read."""
        found = chain_of(chain)
        about, issuer = named(found[0]), issuer_in(found)
        values = {
            "pem": chain,
            "serial": about.serial,
            "subject": about.subject,
            "hash": json.dumps(hash_data(found[0], issuer, "SHA256") if issuer is not None else {}),
            "valid_from_ms": about.valid_from_ms,
            "expires_ms": about.expires_ms,
        }
        await self._move(certificate_id, (State.REQUESTED,), state=State.SIGNED, **values)

    async def answered(self, certificate_id: str, status: str) -> None:
        """The charger took the certificate, or did not; then a person hears of it."""
        if status == "Accepted":
            await self._move(certificate_id, (State.SIGNED,), state=State.ACCEPTED)
            return
        await self.rejected(certificate_id, f"the charger answered {status}")

    async def rejected(self, certificate_id: str, why: str) -> None:
        """There will be no certificate for this request. The charger does not ask again by itself (A02.FR.12)."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            row = tx.take(Table.CERTIFICATES, id=certificate_id)
            if row is not None and row["state"] in DELIVERABLE:
                after = _change(tx, row, now_ms, state=State.REJECTED, detail=why)
                _tell(tx, after, "rejected", f"Charger {row['station']} has no new certificate: {why}.", now_ms)

        await self._store.transact(work)

    async def delayed(self, row: Row, why: str) -> None:
        """The authority did not sign; it is asked again, and a person hears of it once."""
        text = f"The certificate authority has not signed for charger {row['station']} yet: {why}."
        now_ms = self._clock.now_ms()
        await self._store.transact(lambda tx: _tell(tx, row, "delayed", text, now_ms))

    async def presented(self, station: str, serial: str, der: bytes) -> str | None:
        """A charger has come with this certificate; its state, None when it is none of ours. Raises BadCertificate
        for one that was issued to another charger: the serial number in it is only what that one called itself.

        The first time proves that the charger uses it (and the one before is history).
        """
        rows = await self._store.read(lambda tx: tx.many(Table.CERTIFICATES, serial=serial, role=ISSUED))
        rows = [row for row in rows if _is_leaf(row, der)]
        row = next((row for row in rows if row["station"] == station), None)
        if rows and row is None:
            raise BadCertificate("it was issued to another charger")
        if row is None or row["state"] not in {State.SIGNED, State.ACCEPTED}:
            return row["state"] if row is not None else None
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            for other in tx.many(
                Table.CERTIFICATES, station=station, role=ISSUED, use=row["use"], state=State.IN_USE.value
            ):
                _change(tx, other, now_ms, state=State.GONE, detail="replaced by a newer one")
            _change(tx, row, now_ms, state=State.IN_USE)

        await self._store.transact(work)
        return State.IN_USE.value

    async def revoke(self, station: str, certificate_id: str, who: str) -> Row:
        """It opens no door any more. Raises Refusal."""
        row = await self.one(station, certificate_id)
        if row["role"] != ISSUED or row["state"] not in {*GOOD, State.SIGNED, State.GONE}:
            raise Refusal(Why.WRONG_STATE, f"A certificate that is {row['state']} cannot be revoked.")
        detail = f"revoked by {who}"
        now_ms = self._clock.now_ms()
        await self._store.transact(lambda tx: _change(tx, row, now_ms, state=State.REVOKED, detail=detail))
        return {**row, "state": State.REVOKED.value, "detail": detail, "updated_ms": now_ms}

    async def has_good(self, station: str) -> bool:
        """Whether the charger has taken a certificate of ours that still holds."""
        now_ms = self._clock.now_ms()
        good = [state.value for state in GOOD]
        rows = await self._store.read(lambda tx: tx.many(Table.CERTIFICATES, station=station, role=ISSUED, state=good))
        return any(row["use"] in FOR_US and (row["expires_ms"] or 0) > now_ms for row in rows)

    async def due(self, before_days: int) -> list[Row]:
        """Certificates that end soon, of chargers that have nothing newer."""
        now_ms = self._clock.now_ms()
        good = [state.value for state in GOOD]
        rows = await self._store.read(
            lambda tx: tx.many(
                Table.CERTIFICATES,
                order="expires_ms",
                limit=_NEWEST,
                role=ISSUED,
                state=good,
            )
        )
        latest: dict[tuple[str, str], Row] = {(row["station"], row["use"]): row for row in rows}
        return [row for row in latest.values() if is_due(row["state"], row["expires_ms"], now_ms, before_days)]

    # -- installed

    async def installed(self, station: str, use: str, pem: str) -> None:
        """The charger took a certificate that we sent it."""
        now_ms = self._clock.now_ms()
        try:
            chain = chain_of(pem)
        except BadCertificate:
            return  # sent by hand, and what the charger made of it only its own list can tell
        about, issuer = named(chain[0]), issuer_in(chain)
        data = hash_data(chain[0], issuer, "SHA256") if issuer is not None else {}
        row = _row(station, INSTALLED, use, _id(station, use, about.serial, about.subject), State.HELD, now_ms, pem=pem)
        row |= {
            "serial": about.serial,
            "subject": about.subject,
            "hash": json.dumps(data),
            "valid_from_ms": about.valid_from_ms,
            "expires_ms": about.expires_ms,
        }

        def work(tx: Tx) -> None:
            same = [one for one in self._held_in(tx, station, (use,)) if _is(one, data)]
            if same:  # listed by the charger before: now its text is known, too
                row["id"] = same[0]["id"]
            tx.save(Table.CERTIFICATES, row)
            tx.append([_fact(row, now_ms)])

        await self._store.transact(work)

    async def listed(self, station: str, uses: Iterable[str], found: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        """The charger told what it holds of these uses: (use, CertificateHashData) each. What is not there is gone."""
        now_ms, asked, told = self._clock.now_ms(), tuple(uses), list(found)

        def work(tx: Tx) -> None:
            known = tx.many(Table.CERTIFICATES, station=station, role=INSTALLED, use=list(asked))
            seen = set()
            for use, data in told:
                row = next((one for one in known if one["use"] == use and _is(one, data)), None)
                if row is None:
                    row = _row(station, INSTALLED, use, _id(station, use, *_key(data)), State.HELD, now_ms)
                    row |= {"serial": _key(data)[-1], "hash": json.dumps(dict(data))}
                    tx.save(Table.CERTIFICATES, row)
                    tx.append([_fact(row, now_ms)])
                elif row["state"] != State.HELD or json.loads(row["hash"]) != dict(data):
                    _change(tx, row, now_ms, state=State.HELD, hash=json.dumps(dict(data)))
                seen.add(row["id"])
            for row in known:
                if row["id"] not in seen and row["state"] == State.HELD:
                    _change(tx, row, now_ms, state=State.GONE, detail="the charger does not list it")

        await self._store.transact(work)

    async def deleted(self, station: str, data: Mapping[str, str]) -> None:
        """The charger has deleted the certificate with this hash data, or never had it."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> None:
            for row in self._held_in(tx, station, None):
                if _is(row, data):
                    _change(tx, row, now_ms, state=State.GONE, detail="deleted")

        await self._store.transact(work)

    async def held(self, station: str, use: str) -> list[Row]:
        """What the charger holds of one use, as far as is known."""
        return await self._store.read(
            lambda tx: tx.many(Table.CERTIFICATES, station=station, role=INSTALLED, use=use, state=State.HELD.value)
        )

    async def all_of(self, station: str) -> list[Row]:
        """Every certificate issued to the charger or held by it, newest change first."""
        rows = await self._store.read(lambda tx: tx.many(Table.CERTIFICATES, station=station))
        return sorted(rows, key=lambda row: (-row["updated_ms"], row["id"]))

    # -- both

    async def one(self, station: str, certificate_id: str) -> Row:
        """A certificate of this charger. Raises Refusal."""
        row = await self._store.read(lambda tx: tx.one(Table.CERTIFICATES, id=certificate_id, station=station))
        if row is None:
            raise Refusal(Why.UNKNOWN_TARGET, f"Charger {station!r} has no certificate {certificate_id!r}.")
        return row

    async def _move(self, certificate_id: str, come_from: Iterable[State], **values: Any) -> Row | None:
        """Change a row that is in one of these states; None when it is not, because that was done before."""
        now_ms = self._clock.now_ms()

        def work(tx: Tx) -> Row | None:
            row = tx.take(Table.CERTIFICATES, id=certificate_id)
            if row is None or row["state"] not in set(come_from):
                return None
            return _change(tx, row, now_ms, **values)

        return await self._store.transact(work)

    @staticmethod
    def _held_in(tx: Tx, station: str, uses: Iterable[str] | None) -> list[Row]:
        where: dict[str, Any] = {} if uses is None else {"use": list(uses)}
        return tx.many(Table.CERTIFICATES, station=station, role=INSTALLED, **where)


def _row(station: str, role: str, use: str, certificate_id: str, state: State, now_ms: int, **more: Any) -> Row:
    bare: Row = {
        "id": certificate_id, "station": station, "role": role, "use": use, "serial": "", "subject": None,
        "hash": "{}", "pem": None, "valid_from_ms": None, "expires_ms": None, "state": state.value, "detail": None,
        "updated_ms": now_ms,
    }  # fmt: skip
    return bare | more


def _tell(tx: Tx, row: Row, what: str, text: str, now_ms: int) -> None:
    open_case(
        tx,
        case_id=f"certificate-{what}-{row['id']}",
        type_="CERTIFICATE",
        severity="warning",
        text=text,
        now_ms=now_ms,
        station=row["station"],
    )


def _change(tx: Tx, row: Row, now_ms: int, **values: Any) -> Row:
    changed = {"detail": None, **values, "updated_ms": now_ms}
    tx.change(Table.CERTIFICATES, changed, id=row["id"])
    after = {**row, **changed}
    tx.append([_fact(after, now_ms)])
    return after


def _fact(row: Row, now_ms: int) -> Fact:
    body = {"certificate_id": row["id"], "role": row["role"], "use": row["use"], "state": str(row["state"])}
    return Fact("CertificateChanged", now_ms, body | {"detail": row["detail"]}, station=row["station"])


def _is(row: Row, data: Mapping[str, str]) -> bool:
    """Whether hash data names this certificate. A charger hashes by an algorithm of its own choice: a certificate
    whose text we have is hashed the same way to compare (M04.FR.07)."""
    key, stored = _key(data), json.loads(row["hash"])
    if stored and _key(stored) == key:
        return True
    if row["pem"] is None or data.get("hashAlgorithm") not in ALGORITHMS:
        return False
    chain = chain_of(row["pem"])
    issuer = issuer_in(chain)
    return issuer is not None and _key(hash_data(chain[0], issuer, str(data["hashAlgorithm"]))) == key


def _is_leaf(row: Row, der: bytes) -> bool:
    """Whether this is the certificate of an issued row; authorities number theirs each by itself."""
    return bool(chain_of(row["pem"])[0].public_bytes(Encoding.DER) == der)


def _key(data: Mapping[str, str]) -> tuple[str, ...]:
    """Hash data as it compares: hexadecimal has no case, and some write serial numbers with leading zeros."""
    names = ("hashAlgorithm", "issuerNameHash", "issuerKeyHash")
    return (*(str(data.get(name, "")).lower() for name in names), str(data.get("serialNumber", "")).lower().lstrip("0"))


def _id(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:24]
