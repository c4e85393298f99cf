"""What a charger knows of a customer: ask for it, have it cleared (OCPP 2.0.1)."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from csms.api.models import Body, Time, TokenUid, View
from csms.api.ocpp import WaitQuery
from csms.api.pages import Page, PageQuery, encode, text_key
from csms.api.routes import Call, Routes
from csms.app import customers as app
from csms.app import queries
from csms.app.customers import CustomerWish, collected, request_of
from csms.domain.units import rfc3339
from csms.ports import ReadTx, Row, Table

route: Final = Routes("Customer information")

TokenType = Literal["Central", "eMAID", "ISO14443", "ISO15693", "KeyCode", "Local", "MacAddress", "NoAuthorization"]
Digest = Annotated[str, Field(min_length=1, max_length=128)]


class CertificateHash(Body):
    """A customer's certificate, by its hashes as OCPP has them."""

    hash_algorithm: Literal["SHA256", "SHA384", "SHA512"]
    issuer_name_hash: Digest
    issuer_key_hash: Digest
    serial_number: Annotated[str, Field(min_length=1, max_length=40)]


class CustomerIn(Body):
    """Whom it is about, said in one way, and what is wanted."""

    report: bool = True
    clear: bool = False
    customer_identifier: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    token: TokenUid | None = None
    token_type: TokenType = "ISO14443"  # noqa: S105 - a kind of card
    certificate: CertificateHash | None = None

    @model_validator(mode="after")
    def _one_customer(self) -> CustomerIn:
        given = [one for one in (self.customer_identifier, self.token, self.certificate) if one is not None]
        if len(given) != 1:
            raise ValueError("give one of customer_identifier, token and certificate")
        if not self.report and not self.clear:
            raise ValueError("ask for a report, a clear or both")
        return self


class CustomerRequest(View):
    """One request and what came of it."""

    id: str
    charger_id: str
    request_id: int = Field(description="the number on the wire")
    state: Literal["asked", "accepted", "refused", "done"]
    status: str | None = Field(description="the charger's answer")
    report: bool
    clear: bool
    data: str | None = Field(description="all parts that have come, joined in order")
    complete: bool = Field(description="whether those are all of them")
    created_at: Time
    updated_at: Time


_AT: Final = "/api/v1/chargers/{id}/customer-information"


@route(
    "POST",
    _AT,
    query=WaitQuery,
    body=CustomerIn,
    answer=CustomerRequest,
    status=201,
    errors=[404],
    summary="Ask a charger what it knows of a customer, or have it forget",
)
async def ask_customer(call: Call[WaitQuery, CustomerIn]) -> CustomerRequest:
    """Send a CustomerInformation. The report comes in parts afterwards; look again."""
    await call.charger()
    enquiries = call.system.maintenance.enquiries
    row = await enquiries.ask(call.path["id"], _wish(call.body), call.who.name, timeout_s=call.query.timeout_s)
    return await call.system.store.read(lambda tx: _view(tx, request_of(tx, row["station"], row["id"])))


@route(
    "GET",
    _AT,
    query=PageQuery,
    answer=Page[CustomerRequest],
    errors=[404],
    summary="Requests about customers, newest first",
)
async def list_requests(call: Call[PageQuery, None]) -> Page[CustomerRequest]:
    """One page of them."""
    q = call.query

    def read(tx: ReadTx) -> Page[CustomerRequest]:
        station = queries.charger(tx, call.path["id"])["id"]
        after = text_key(q.cursor)
        found = queries.page(tx, Table.CUSTOMER_REQUESTS, order="-id", limit=q.limit, after=after, station=station)
        return Page[CustomerRequest](items=[_view(tx, row) for row in found.rows], next_cursor=encode(found.after))

    return await call.system.store.read(read)


@route("GET", f"{_AT}/{{request}}", answer=CustomerRequest, errors=[404], summary="One request about a customer")
async def show_request(call: Call[None, None]) -> CustomerRequest:
    """One of them, with what has come."""

    def read(tx: ReadTx) -> CustomerRequest:
        station = queries.charger(tx, call.path["id"])["id"]
        return _view(tx, request_of(tx, station, call.path["request"]))

    return await call.system.store.read(read)


def _wish(body: CustomerIn) -> CustomerWish:
    given = body.certificate
    return CustomerWish(
        report=body.report,
        clear=body.clear,
        customer_identifier=body.customer_identifier,
        token=(body.token, body.token_type) if body.token is not None else None,
        certificate=app.CertificateHash(**given.model_dump()) if given is not None else None,
    )


def _view(tx: ReadTx, row: Row) -> CustomerRequest:
    asked = json.loads(row["asked"])
    data, is_whole = collected(tx, row)
    return CustomerRequest(
        id=row["id"],
        charger_id=row["station"],
        request_id=row["request_id"],
        state=row["state"],
        status=row["status"],
        report=asked["report"],
        clear=asked["clear"],
        data=data,
        complete=is_whole,
        created_at=rfc3339(row["created_ms"]),
        updated_at=rfc3339(row["updated_ms"]),
    )
