"""Certificates of chargers: what we issued, what they hold, and the security profile they come with."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field

from csms.api.models import Body, Empty, OpenView, Time, View, time
from csms.api.pages import Query
from csms.api.routes import Call, Routes
from csms.domain.certificate import State
from csms.domain.units import rfc3339
from csms.ports import Row

route: Final = Routes("Certificates")

RootUse = Literal["CSMSRootCertificate", "ManufacturerRootCertificate", "V2GRootCertificate", "MORootCertificate"]
ListedUse = Literal[
    "CSMSRootCertificate",
    "ManufacturerRootCertificate",
    "V2GRootCertificate",
    "MORootCertificate",
    "V2GCertificateChain",
]
_AT: Final = "/api/v1/chargers/{id}/certificates"


class Certificate(View):
    """A certificate that we issued to a charger, or one that the charger holds."""

    id: str
    role: Literal["issued", "installed"]
    use: str = Field(description="in the words of OCPP 2.0.1, for 1.6 chargers, too")
    state: State
    serial: str | None = Field(description="hexadecimal; null until it is signed")
    subject: str | None
    hash_data: dict[str, str] | None = Field(description="as the charger names it")
    pem: str | None = Field(description="null when only the charger knows it, or before it is signed")
    valid_from: Time | None
    expires_at: Time | None
    detail: str | None
    updated_at: Time


class Certificates(View):
    """Everything known of one charger."""

    items: list[Certificate]


class Install(Body):
    """A root for a charger to believe in."""

    use: RootUse
    pem: Annotated[str, Field(min_length=1, max_length=10_000, description="one certificate")]


class ReadInstalled(Body):
    """Ask the charger what it holds; everything when no use is named."""

    uses: Annotated[list[ListedUse], Field(max_length=5)] = Field(default_factory=list)


class Renew(Body):
    """Ask the charger for a new signing request now."""

    use: Literal["ChargingStationCertificate", "V2GCertificate", "CombinedCertificate"] = "ChargingStationCertificate"


class DeleteQuery(Query):
    """How to delete."""

    force: bool = Field(default=False, description="even the last root by which the charger knows this system")


class Said(View):
    """The charger's own word."""

    status: str


class SaidOfEach(View):
    """The charger's own word for each use; the list follows."""

    statuses: dict[str, str]


class Upgrade(Body):
    """Ask a charger to move to a higher security profile. It counts from its first connection with it; then there is
    no way back, but for a PATCH of the charger."""

    profile: Annotated[int, Field(ge=1, le=3)]
    url: Annotated[str, Field(pattern=r"^wss?://\S+$", max_length=512)] | None = Field(
        default=None, description="what the charger shall call (2.0.1); default: our own listener"
    )
    slot: Annotated[int, Field(ge=1, le=99)] | None = Field(
        default=None, description="network configuration slot (2.0.1); default: the first that is free"
    )
    interface: Literal["Wired0", "Wired1", "Wired2", "Wired3", "Wireless0", "Wireless1", "Wireless2", "Wireless3"] = (
        "Wired0"
    )
    force: bool = Field(default=False, description="although its certificates do not look ready for it")


class UpgradeOut(OpenView):
    """What the charger said. `pending`: it may now come with the new profile, and still with the old one."""

    status: str
    pending: bool


class Authority(View):
    """Who signs the certificates of chargers."""

    kind: Literal["off", "builtin", "external"]
    root: str | None = Field(description="PEM of the built-in root")


class Attempt(View):
    """An attempt to connect that came to nothing."""

    at: Time
    charger_id: str | None = Field(description="null when it did not get so far as to say who it is")
    reason: str
    remote: str


class Attempts(View):
    """The latest ones since the start of this node, newest first."""

    items: list[Attempt]


@route("GET", _AT, answer=Certificates, errors=[404], summary="A charger's certificates")
async def list_certificates(call: Call[None, None]) -> Certificates:
    """What we issued to it and what it says it holds, newest change first."""
    await call.charger()
    rows = await call.system.trust.listing(call.path["id"])
    return Certificates(items=[_view(row) for row in rows])


@route("POST", _AT, body=Install, answer=Said, errors=[404, 409], summary="Install a root certificate")
async def install(call: Call[None, Install]) -> Said:
    """Send a root certificate to the charger and wait for its word."""
    await call.charger()
    return Said(status=await call.system.trust.install(call.path["id"], call.body.use, call.body.pem))


@route(
    "POST", f"{_AT}/read", body=ReadInstalled, answer=SaidOfEach, errors=[404, 409], summary="Read what a charger holds"
)
async def read_installed(call: Call[None, ReadInstalled]) -> SaidOfEach:
    """Ask the charger which certificates it holds; NotFound is an answer, too."""
    await call.charger()
    return SaidOfEach(statuses=dict(await call.system.trust.read_installed(call.path["id"], call.body.uses)))


@route("POST", f"{_AT}/renew", body=Renew, answer=Said, errors=[404, 409], summary="Renew a charger's certificate")
async def renew(call: Call[None, Renew]) -> Said:
    """Ask the charger for a new signing request; what it sends is signed and brought to it."""
    await call.charger()
    return Said(status=await call.system.trust.renew(call.path["id"], call.body.use))


@route(
    "DELETE",
    f"{_AT}/{{certificate_id}}",
    query=DeleteQuery,
    answer=Said,
    errors=[404, 409],
    summary="Delete a certificate on a charger",
)
async def delete(call: Call[DeleteQuery, None]) -> Said:
    """Delete it by the hash data with which the charger listed it."""
    await call.charger()
    trust = call.system.trust
    return Said(status=await trust.delete(call.path["id"], call.path["certificate_id"], call.query.force))


@route(
    "POST",
    f"{_AT}/{{certificate_id}}/revoke",
    body=Empty,
    answer=Certificate,
    errors=[404, 409],
    summary="Revoke a certificate we issued",
)
async def revoke(call: Call[None, Empty]) -> Certificate:
    """It opens no door any more; the link that it opened is closed."""
    await call.charger()
    row = await call.system.trust.revoke(call.path["id"], call.path["certificate_id"], call.who.name)
    return _view(row)


@route(
    "POST",
    "/api/v1/chargers/{id}/security_profile",
    body=Upgrade,
    answer=UpgradeOut,
    errors=[404, 409],
    summary="Move a charger to a higher security profile",
)
async def raise_profile(call: Call[None, Upgrade]) -> UpgradeOut:
    """Ask the charger, after looking whether it would be locked out."""
    await call.charger()
    body = call.body
    said = await call.system.trust.raise_profile(
        call.path["id"], body.profile, url=body.url, slot=body.slot, interface=body.interface, force=body.force
    )
    return UpgradeOut.model_validate(dict(said))


@route("GET", "/api/v1/certificate-authority", answer=Authority, summary="Who signs the certificates of chargers")
async def authority(call: Call[None, None]) -> Authority:
    """The authority and, when it is the built-in one, its root."""
    kind, root = call.system.trust.authority()
    return Authority.model_validate({"kind": kind, "root": root})


@route("GET", "/api/v1/refused-connections", answer=Attempts, summary="Chargers that were turned away")
async def refused_connections(call: Call[None, None]) -> Attempts:
    """Why a charger does not appear: the latest attempts that came to nothing, each with a plain reason."""
    found = call.system.trust.refusals()
    return Attempts(
        items=[
            Attempt(at=rfc3339(at_ms), charger_id=identity, reason=reason, remote=remote)
            for at_ms, identity, reason, remote in found
        ]
    )


def _view(row: Row) -> Certificate:
    is_signed = row["state"] != State.REQUESTED and "BEGIN CERTIFICATE-" in (row["pem"] or "")
    return Certificate(
        id=row["id"],
        role=row["role"],
        use=row["use"],
        state=State(row["state"]),
        serial=row["serial"] or None,
        subject=row["subject"],
        hash_data=json.loads(row["hash"]) or None,
        pem=row["pem"] if is_signed else None,
        valid_from=time(row["valid_from_ms"]),
        expires_at=time(row["expires_ms"]),
        detail=row["detail"],
        updated_at=rfc3339(row["updated_ms"]),
    )
