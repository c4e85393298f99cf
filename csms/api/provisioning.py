"""Provisioning: what chargers hold, what is wanted of them, and where the two differ."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from csms.api.chargers import Transport
from csms.api.models import Body, Empty, ShortText, Text, Time, View, time
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import queries
from csms.app.masks import is_secret
from csms.domain.presets import BUILTIN
from csms.domain.provisioning import Template as DomainTemplate
from csms.domain.refusal import Refusal, Why
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table, Tx

route: Final = Routes("Provisioning")

StateWord = Literal["unknown", "in-step", "drifted", "reboot-needed", "failed"]
TemplateId = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9._-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=250)]
_KEY_BETWEEN: Final = "\n"  # name and attribute in a cursor; neither holds one
# Their change is a conversation of its own: the password, and the profile it belongs to.
_NOT_BY_TEMPLATE: Final = ("securityprofile",)


class Variable(View):
    """A key (OCPP 1.6) or an attribute of a variable (2.0.1) as the charger last told it."""

    name: str
    attribute: str = Field(description="Actual, Target, MinSet or MaxSet; Actual in OCPP 1.6")
    value: str | None = Field(description="null: not set, or it cannot be read (passwords never are)")
    mutability: str | None
    data_type: str | None
    unit: str | None
    min_limit: float | None
    max_limit: float | None
    values_list: str | None
    seen_at: Time


class ConfigurationQuery(PageQuery):
    """Filters of the list."""

    name: Annotated[str | None, Field(description="a part of the name, in any case")] = None


class Template(View):
    """Values wanted of every charger that matches."""

    id: str
    builtin: bool
    transport: Transport | None
    priority: int
    enabled: bool
    vendor: str | None
    model: str | None
    location_id: str | None
    charger_id: str | None
    wanted: dict[str, str]
    updated_at: Time | None


class TemplateIn(Body):
    """A template. What is not given does not restrict; where several want one name the highest priority counts."""

    transport: Literal["ocpp1.6", "ocpp2.0.1"] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    enabled: bool = True
    vendor: Text | None = Field(default=None, description="a glob, e.g. `Exi*`")
    model: Text | None = Field(default=None, description="a glob")
    location_id: ShortText | None = None
    charger_id: ShortText | None = None
    wanted: Annotated[dict[Name, Annotated[str, Field(max_length=1000)]], Field(min_length=1, max_length=500)] = Field(
        description="values by name: a key of OCPP 1.6, or `Component.Variable` of 2.0.1"
    )

    @model_validator(mode="after")
    def _no_secrets(self) -> TemplateIn:
        for name in self.wanted:
            last = name.rpartition(".")[2].partition("[")[0]
            if is_secret(last) or last.casefold() in _NOT_BY_TEMPLATE:
                raise ValueError(f"wanted: {name} is not set by a template; passwords and profiles have their own ways")
        if len({name.casefold() for name in self.wanted}) != len(self.wanted):
            raise ValueError("wanted: one name stands there twice")
        return self


class DriftItem(View):
    """One difference between what is wanted and what the charger says."""

    name: str
    wanted: str
    found: str | None
    template: str
    outcome: str | None = Field(description="the charger's word when it was written last; null: not tried")


class Provisioning(View):
    """How a charger stands to what is wanted of it."""

    charger_id: str
    state: StateWord
    drift: list[DriftItem]
    detail: str | None
    template: str | None = Field(description="the built-in template chosen for it; null: the configured one")
    under_way: bool = Field(description="reading, comparing or writing waits for the charger, or is being done")
    inventory_at: Time | None = Field(description="when everything was read last")
    inventory_firmware: str | None
    checked_at: Time | None
    written_at: Time | None
    reset_at: Time | None = Field(description="when it was asked to restart for what was written")


class ProvisioningIn(Body):
    """Which built-in template counts for this charger."""

    template: Literal["", "builtin-ac", "builtin-dc", "builtin-low-data"] | None = Field(
        description="empty: none; null: the configured one"
    )


class ProvisioningQuery(PageQuery):
    """Filters of the list."""

    state: StateWord | None = None


# -- what a charger says of itself


@route(
    "GET",
    "/api/v1/chargers/{id}/configuration",
    query=ConfigurationQuery,
    answer=Page[Variable],
    errors=[404],
    summary="What the charger said of itself, by name",
)
async def list_configuration(call: Call[ConfigurationQuery, None]) -> Page[Variable]:
    """One page of keys or variables."""
    charger_id, q = call.path["id"], call.query
    part = (q.name or "").casefold()
    after = text_key(q.cursor)

    def read(tx: ReadTx) -> list[Row]:
        queries.charger(tx, charger_id)
        rows = tx.many(Table.CONFIGURATION, station=charger_id)
        fitting = [row for row in rows if part in row["name"].casefold() and (after is None or _key(row) > after)]
        return sorted(fitting, key=_key)

    rows = await call.system.store.read(read)
    going_on = _key(rows[q.limit - 1]) if len(rows) > q.limit else None
    return Page[Variable](items=[_variable(row) for row in rows[: q.limit]], next_cursor=encode(going_on))


@route(
    "POST",
    "/api/v1/chargers/{id}/configuration/read",
    body=Empty,
    answer=Provisioning,
    status=202,
    errors=[404],
    summary="Read everything from the charger",
)
async def read_configuration(call: Call[None, Empty]) -> Provisioning:
    """Read it all again, as soon as the charger is there and quiet; `under_way` tells when that is done."""
    await call.charger()
    await call.system.provisioning.want_inventory(call.path["id"])
    return await _standing(call)


# -- templates


@route("GET", "/api/v1/config-templates", query=PageQuery, answer=Page[Template], summary="All templates, by id")
async def list_templates(call: Call[PageQuery, None]) -> Page[Template]:
    """One page: the operators' own and the built-in ones together."""
    q = call.query
    after = text_key(q.cursor)
    rows = await call.system.store.read(lambda tx: tx.many(Table.CONFIG_TEMPLATES))
    shown = [*map(_template, rows), *map(_builtin, BUILTIN.values())]
    found = sorted((one for one in shown if after is None or one.id > after), key=lambda one: one.id)
    going_on = found[q.limit - 1].id if len(found) > q.limit else None
    return Page[Template](items=found[: q.limit], next_cursor=encode(going_on))


@route("GET", "/api/v1/config-templates/{id}", answer=Template, errors=[404], summary="One template")
async def show_template(call: Call[None, None]) -> Template:
    """One template."""
    template_id = call.path["id"]
    if template_id in BUILTIN:
        return _builtin(BUILTIN[template_id])
    return _template(await call.system.store.read(lambda tx: _stored(tx, template_id)))


@route(
    "PUT",
    "/api/v1/config-templates/{id}",
    path_types={"id": TemplateId},
    body=TemplateIn,
    answer=Template,
    errors=[409],
    summary="Make or change a template",
)
async def put_template(call: Call[None, TemplateIn]) -> Template:
    """Make or replace it. Chargers are compared anew with what they last said; none is asked for that."""
    template_id, body = call.path["id"], call.body
    _refuse_builtin(template_id)
    match = {
        name: value
        for name in ("vendor", "model", "location_id", "charger_id")
        if (value := getattr(body, name)) is not None
    }
    row: Row = {
        "id": template_id, "transport": body.transport, "priority": body.priority, "enabled": int(body.enabled),
        "match": json.dumps(match, ensure_ascii=False), "wanted": json.dumps(body.wanted, ensure_ascii=False),
        "updated_ms": call.now_ms(),
    }  # fmt: skip
    await call.system.store.transact(lambda tx: tx.save(Table.CONFIG_TEMPLATES, row))
    await call.system.provisioning.templates_changed()
    return _template(row)


@route("DELETE", "/api/v1/config-templates/{id}", errors=[404, 409], summary="Remove a template")
async def delete_template(call: Call[None, None]) -> None:
    """Remove it; what it wanted stays on the chargers as it is."""
    template_id = call.path["id"]
    _refuse_builtin(template_id)

    def work(tx: Tx) -> None:
        _stored(tx, template_id)
        tx.drop(Table.CONFIG_TEMPLATES, id=template_id)

    await call.system.store.transact(work)
    await call.system.provisioning.templates_changed()


# -- how chargers stand


@route(
    "GET",
    "/api/v1/provisioning",
    query=ProvisioningQuery,
    answer=Page[Provisioning],
    summary="How chargers stand to what is wanted of them, by id",
)
async def list_provisioning(call: Call[ProvisioningQuery, None]) -> Page[Provisioning]:
    """One page of chargers that were ever read or compared."""
    q = call.query
    found = await call.system.store.read(
        lambda tx: queries.page(
            tx, Table.PROVISIONING, order="station", limit=q.limit, after=text_key(q.cursor), state=q.state
        )
    )
    known = [row for row in found.rows if call.system.stations.get(row["station"]) is not None]
    return Page[Provisioning](
        items=[_view(call, row["station"], row) for row in known], next_cursor=encode(found.after)
    )


@route("GET", "/api/v1/chargers/{id}/provisioning", answer=Provisioning, errors=[404], summary="How one charger stands")
async def show_provisioning(call: Call[None, None]) -> Provisioning:
    """State and differences."""
    await call.charger()
    return await _standing(call)


@route(
    "PUT",
    "/api/v1/chargers/{id}/provisioning",
    body=ProvisioningIn,
    answer=Provisioning,
    errors=[404],
    summary="Choose a built-in template for a charger",
)
async def choose_template(call: Call[None, ProvisioningIn]) -> Provisioning:
    """Choose it; the charger is compared anew with what it last said."""
    await call.charger()
    await call.system.provisioning.choose(call.path["id"], call.body.template)
    return await _standing(call)


@route(
    "POST",
    "/api/v1/chargers/{id}/provisioning/check",
    body=Empty,
    answer=Provisioning,
    status=202,
    errors=[404],
    summary="Compare a charger now",
)
async def check_provisioning(call: Call[None, Empty]) -> Provisioning:
    """Ask what it holds of what is wanted and compare, as soon as it is there and quiet."""
    await call.charger()
    await call.system.provisioning.want_check(call.path["id"])
    return await _standing(call)


@route(
    "POST",
    "/api/v1/chargers/{id}/provisioning/apply",
    body=Empty,
    answer=Provisioning,
    status=202,
    errors=[404],
    summary="Write what differs",
)
async def apply_provisioning(call: Call[None, Empty]) -> Provisioning:
    """Write the differences, as soon as it is there, quiet and without a session; it restarts when it must, idle."""
    await call.charger()
    await call.system.provisioning.want_apply(call.path["id"])
    return await _standing(call)


# -- the pieces


async def _standing(call: Call[Any, Any]) -> Provisioning:
    charger_id = call.path["id"]
    row = await call.system.store.read(lambda tx: tx.one(Table.PROVISIONING, station=charger_id))
    return _view(call, charger_id, row)


def _view(call: Call[Any, Any], charger_id: str, row: Row | None) -> Provisioning:
    told: Row = row or {}
    return Provisioning(
        charger_id=charger_id,
        state=told.get("state", "unknown"),
        drift=[DriftItem(**one) for one in json.loads(told.get("drift", "[]"))],
        detail=told.get("detail"),
        template=told.get("template"),
        under_way=call.system.provisioning.is_under_way(charger_id),
        inventory_at=time(told.get("inventory_ms")),
        inventory_firmware=told.get("inventory_firmware"),
        checked_at=time(told.get("checked_ms")),
        written_at=time(told.get("written_ms")),
        reset_at=time(told.get("reset_ms")),
    )


def _key(row: Row) -> str:
    return f"{row['name']}{_KEY_BETWEEN}{row['attribute']}"


def _variable(row: Row) -> Variable:
    told = json.loads(row["data"]).get("characteristics") or {}
    return Variable(
        name=row["name"],
        attribute=row["attribute"],
        value=row["value"],
        mutability=row["mutability"],
        data_type=told.get("dataType"),
        unit=told.get("unit"),
        min_limit=told.get("minLimit"),
        max_limit=told.get("maxLimit"),
        values_list=told.get("valuesList"),
        seen_at=rfc3339(row["seen_ms"]),
    )


def _stored(tx: ReadTx, template_id: str) -> Row:
    if (row := tx.one(Table.CONFIG_TEMPLATES, id=template_id)) is None:
        raise Refusal(Why.UNKNOWN_TARGET, f"There is no template {template_id!r}.")
    return row


def _refuse_builtin(template_id: str) -> None:
    if template_id in BUILTIN:
        raise Refusal(Why.WRONG_STATE, f"{template_id!r} is built in; put one of your own with a higher priority.")


def _template(row: Row) -> Template:
    match = json.loads(row["match"])
    return Template(
        id=row["id"],
        builtin=False,
        transport=row["transport"],
        priority=row["priority"],
        enabled=bool(row["enabled"]),
        vendor=match.get("vendor"),
        model=match.get("model"),
        location_id=match.get("location_id"),
        charger_id=match.get("charger_id"),
        wanted=json.loads(row["wanted"]),
        updated_at=rfc3339(row["updated_ms"]),
    )


def _builtin(template: DomainTemplate) -> Template:
    return Template(
        id=template.id,
        builtin=True,
        transport=None,
        priority=template.priority,
        enabled=template.enabled,
        vendor=None,
        model=None,
        location_id=None,
        charger_id=None,
        wanted=dict(template.wanted),
        updated_at=None,
    )
