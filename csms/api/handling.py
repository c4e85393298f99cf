"""From an HTTP request to an operation and back: authenticate, parse, count once, answer.

Whatever goes wrong leaves as a problem document. A bug leaves as a 500 that says nothing about the inside; it is
logged here, once.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import pydantic_core
import structlog
from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from csms.api import idempotency
from csms.api.auth import principal_of
from csms.api.problems import (
    BAD_HTTP,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NO_SUCH_PAGE,
    OUR_FAULT,
    PAYLOAD_BREAKS_SCHEMA,
    STORE_DOWN,
    TOO_LARGE,
    Fault,
    Problem,
    invalid,
    refused,
)
from csms.api.routes import Answer, Call, Operation, Outcome
from csms.api.system import System
from csms.app.answers import SchemaProblems
from csms.app.masks import MASK
from csms.domain.refusal import Refusal
from csms.ports import StoreDown

log = structlog.get_logger()

HttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def http_handler(system: System, operation: Operation) -> HttpHandler:
    """The aiohttp handler of an operation."""
    path_types = {name: TypeAdapter(type_) for name, type_ in operation.path_types.items()}

    async def handle(request: web.Request) -> web.StreamResponse:
        who = await principal_of(system, request, operation.scope)
        path = _path(request, path_types)
        query = _query(request, operation.query)
        raw = await request.read() if operation.counts_once else b""
        body = _body(raw, operation.body)
        claim = idempotency.claim_of(request, who.name, raw) if operation.counts_once else None
        if claim is not None and (kept := await idempotency.begin(system, claim)) is not None:
            return kept
        if request.method == "GET" and operation.scope != "open" and system.charging.save_meters():
            await system.store.transact(lambda _: None)  # whoever asks sees the readings acknowledged so far
        call: Call[Any, Any] = Call(system, request, path, query, body, who, claim.name if claim else None)
        try:
            outcome = await operation.handler(call)
        except Exception:
            if claim is not None:
                await idempotency.release(system, claim)
            raise
        status, text = _rendered(operation, outcome)
        if claim is not None:
            await idempotency.finish(system, claim, status, _kept(operation, text))
        if isinstance(outcome, web.StreamResponse):
            return outcome
        return web.Response(
            status=status, text=text, content_type="application/json" if text is not None else None, headers=_HEADERS
        )

    return handle


def _rendered(operation: Operation, outcome: Outcome) -> tuple[int, str | None]:
    match outcome:
        case web.StreamResponse():
            return outcome.status, None
        case Answer(body=body, status=status):
            return status, body.model_dump_json()
        case BaseModel():
            return operation.status, outcome.model_dump_json()
        case _:
            return HTTPStatus.NO_CONTENT, None


def _kept(operation: Operation, text: str | None) -> str | None:
    """What a repeat of the request is shown: a secret was shown once."""
    if text is None or not operation.secrets:
        return text
    answer = json.loads(text)
    return json.dumps({name: MASK if name in operation.secrets else value for name, value in answer.items()})


# -- parsing


def _path(request: web.Request, types: dict[str, TypeAdapter[Any]]) -> dict[str, Any]:
    parsed: dict[str, Any] = dict(request.match_info)
    for name, adapter in types.items():
        try:
            parsed[name] = adapter.validate_python(parsed[name])
        except ValidationError as error:
            raise invalid("path", name, f"{name} in the path: {error.errors()[0]['msg']}.") from None
    return parsed


def _query(request: web.Request, model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        return None
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise invalid("query", name, f"The parameter {name!r} is given twice.")
        if value != "":  # `?token=&open=` asks for nothing in particular
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _invalid("query", error) from None


def _body(raw: bytes, model: type[BaseModel] | None) -> BaseModel | None:
    if model is None:
        return None
    try:
        # Read once by itself: the models let NaN through in members they only carry.
        pydantic_core.from_json(raw or b"{}", allow_inf_nan=False)
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        raise _invalid("body", error) from None
    except ValueError as error:
        raise invalid("body", "", f"The body is not JSON: {error}.") from None


def _invalid(where: str, error: ValidationError) -> Problem:
    faults = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        path = "/".join(str(part) for part in one["loc"])
        name = f"/{path}" if where == "body" and path else path
        faults.append(Fault(where=where, path=name, detail=_sentence(where, name, one["type"], one["msg"])))
    return Problem(INVALID_REQUEST, faults[0].detail, errors=faults)


def _sentence(where: str, name: str, type_: str, message: str) -> str:
    thing = "parameter" if where == "query" else "member"
    match type_:
        case "extra_forbidden":
            return f"The {thing} {name!r} is not known here."
        case "missing":
            return f"The {thing} {name!r} is missing."
        case _:
            said = message.removeprefix("Value error, ")
            return f"{name}: {said}" if name else said


# -- what goes wrong


@web.middleware
async def problem_middleware(request: web.Request, handler: HttpHandler) -> web.StreamResponse:
    """Turns everything that ends a request early into its problem document."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.answer()
    except Refusal as refusal:
        return refused(refusal).answer()
    except SchemaProblems as broken:
        faults = [Fault(where="body", path=path, detail=sentence) for path, sentence in broken.problems]
        detail = (
            f"Nothing was sent. {faults[0].path or 'payload'}: {faults[0].detail}" if faults else "Nothing was sent."
        )
        return Problem(PAYLOAD_BREAKS_SCHEMA, detail, errors=faults).answer()
    except StoreDown:
        log.warning("api.store_down", method=request.method, route=_route(request))
        return Problem(STORE_DOWN, "Nothing was changed. Look at /readyz.", headers={"Retry-After": "5"}).answer()
    except web.RequestPayloadError as error:
        return invalid("body", "", f"The body cannot be read: {_first_line(error)}").answer()
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST or not _is_ours(request):
            raise
        return _from_http(request, error).answer()
    except Exception:
        log.exception("api.bug", method=request.method, route=_route(request))
        return Problem(
            OUR_FAULT, "The system made a mistake; its log says more. Nothing about it is your fault."
        ).answer()


def _first_line(error: web.RequestPayloadError) -> str:
    """The HTTP library's reason without its status, `400, message:`."""
    return str(error).partition("message:")[2].strip().split("\n")[0] or "it broke off"


def _route(request: web.Request) -> str:
    """The route's template: never the path itself, which may hold a token."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "-"


def _is_ours(request: web.Request) -> bool:
    """Pages for people have error pages of their own."""
    return request.path.startswith(("/api/", "/problems/")) or "text/html" not in request.headers.get("Accept", "")


def _from_http(request: web.Request, error: web.HTTPException) -> Problem:
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{request.method} is not possible here; use {allowed}."
            return Problem(METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
        case web.HTTPNotFound():
            return Problem(NO_SUCH_PAGE, "There is nothing at this address; /api/docs lists what there is.")
        case web.HTTPRequestEntityTooLarge():
            return Problem(TOO_LARGE, "A request may be one mebibyte at most.")
        case _:
            return Problem(BAD_HTTP, error.reason)
