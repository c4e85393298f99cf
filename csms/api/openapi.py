"""OpenAPI 3.1 from the declared operations and their pydantic models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from csms.api.idempotency import HEADER, LONGEST_KEY
from csms.api.problems import MEDIA_TYPE, ProblemDocument
from csms.api.routes import JSON, Operation

_PLACE: Final = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
_Used = dict[tuple[type[BaseModel], _Mode], dict[str, Any]]

_DESCRIPTION: Final = """\
The operator interface. Times are RFC 3339 in UTC, energy is whole Wh, money is
`{"amount": "154.20", "currency": "INR"}`. Lists are walked with `?limit=` and `?cursor=` until `next_cursor` is null.
Errors are problem documents (RFC 9457) with a stable `type`. A write with an `Idempotency-Key` counts once, however
often it arrives.
"""


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI document, ready for JSON."""
    listed = list(operations)
    used, schemas = _schemas(listed)
    paths: dict[str, dict[str, Any]] = {}
    for operation in listed:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, used)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Charge point operator: REST API",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in listed)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key"}},
        },
        "security": [{"key": []}],
    }


def _schemas(operations: list[Operation]) -> tuple[_Used, dict[str, Any]]:
    wanted: dict[tuple[type[BaseModel], _Mode], None] = {(ProblemDocument, "serialization"): None}
    for operation in operations:
        if operation.body is not None:
            wanted[(operation.body, "validation")] = None
        if operation.answer is not None:
            wanted[(operation.answer, "serialization")] = None
    references, definitions = models_json_schema(list(wanted), ref_template=_PLACE)
    used: _Used = {(model, mode): references[(model, mode)] for model, mode in wanted}
    return used, definitions.get("$defs", {})


def _operation(operation: Operation, used: _Used) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": _responses(operation, used),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.scope == "open":
        described["security"] = []
    if operation.body is not None:
        # Any JSON object will do where the model is one by itself; no body at all is the empty one.
        is_any = issubclass(operation.body, RootModel)
        required = not is_any and any(member.is_required() for member in operation.body.model_fields.values())
        described["requestBody"] = {
            "required": required,
            "content": {JSON: {"schema": used[(operation.body, "validation")]}},
        }
    elif operation.takes is not None:
        binary = {"schema": {"type": "string", "format": "binary"}}
        described["requestBody"] = {"required": True, "content": {operation.takes: binary}}
    return described


def _operation_id(operation: Operation) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", operation.path.removeprefix("/api/v1/")).strip("_")
    return f"{operation.method.lower()}_{words}"


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in re.findall(r"{(\w+)}", operation.path):
        type_ = operation.path_types.get(name)
        schema = TypeAdapter(type_).json_schema() if type_ is not None else {"type": "string", "minLength": 1}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if operation.query is not None:
        found += _query_parameters(operation.query)
    if operation.counts_once:
        schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"}
        found.append({"name": HEADER, "in": "header", "required": False, "schema": schema})
    return found


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    found = []
    for name, member in schema.get("properties", {}).items():
        plain = {key: value for key, value in member.items() if key not in ("title", "description")}
        if "anyOf" in plain:  # `X | None`: an absent parameter, never a null
            (arm,) = [arm for arm in plain.pop("anyOf") if arm.get("type") != "null"]
            plain = {**arm, **plain}
        if plain.get("default", ...) is None:
            del plain["default"]
        parameter = {"name": name, "in": "query", "required": name in required, "schema": plain}
        if "description" in member:
            parameter["description"] = member["description"]
        found.append(parameter)
    return found


def _responses(operation: Operation, used: _Used) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media in operation.media:
        if media != JSON:
            content[media] = {"schema": {"type": "string"}}
        elif operation.answer is not None:
            content[media] = {"schema": used[(operation.answer, "serialization")]}
    responses: dict[str, Any] = {}
    for status in (operation.status, *operation.also):
        responses[str(status)] = {"description": HTTPStatus(status).phrase}
        if content and status != HTTPStatus.NO_CONTENT:
            responses[str(status)]["content"] = content
    for status in sorted(_error_statuses(operation)):
        responses[str(status)] = _problem(HTTPStatus(status).phrase, used)
    responses["default"] = _problem("Any other problem", used)
    return responses


def _error_statuses(operation: Operation) -> set[int]:
    statuses = set(operation.errors)
    if operation.scope != "open":
        statuses |= {401, 403}
    if operation.query is not None or operation.body is not None or operation.path_types:
        statuses.add(422)
    if operation.counts_once:
        statuses |= {409, 422}
    return statuses


def _problem(phrase: str, used: _Used) -> dict[str, Any]:
    schema = used[(ProblemDocument, "serialization")]
    return {"description": phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
