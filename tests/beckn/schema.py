"""Validation against the published Beckn schemas, when they are at hand (`<repo>/../shared/beckn`).

`validate_callback(body)` returns the problems of a message: in generation 2 of the core schema of its action and of
every attribute pack found inside, in generation 1 of core 1.1.1 and of the closed rule set of the Indian energy
interface. Formats are checked too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

_RAW = "https://raw.githubusercontent.com/beckn"
_NEW = f"{_RAW}/protocol-specifications-new/refs/heads/main/schema"
_API = f"{_NEW}/beckn.yaml"
_CONTEXT = f"{_RAW}/protocol-specifications/refs/heads/master/api/transaction/build/transaction.yaml"
_UEI = "https://uei.example/layer2-3.0.yaml"
_NOT_IN_SCHEMA = frozenset({"get_rating_categories", "rating_categories"})  # known from prose only (BECKN 1.1)
_PACKS = ("EvChargingService", "EvChargingOffer", "EvChargingSession", "EvChargingPointOperator", "PaymentSettlement")


def shared() -> Path | None:
    """The folder with schemas and examples, found by walking up from here."""
    for parent in Path(__file__).resolve().parents:
        candidate = parent / "shared" / "beckn"
        if (candidate / "v2" / "schema" / "beckn.yaml").is_file():
            return candidate
    return None


needs_schemas = pytest.mark.skipif(shared() is None, reason="the published Beckn schemas are not at hand")


class _Loader(yaml.SafeLoader):
    """YAML as JSON: a date stays a text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _load(path: Path) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=_Loader)


@lru_cache(maxsize=1)
def _registry() -> Any:
    base = shared()
    assert base is not None
    schemas = base / "v2" / "schema"
    documents = {
        _API: schemas / "beckn.yaml",
        f"{_NEW}/core/v2/attributes.yaml": schemas / "core" / "v2" / "attributes.yaml",
        _CONTEXT: base / "v1" / "schema" / "core-1.1.1-transaction.yaml",
        _UEI: base / "v1" / "schema" / "uei-layer2-3.0.yaml",
        **{f"{_NEW}/{pack}/v1/attributes.yaml": schemas / pack / "v1" / "attributes.yaml" for pack in _PACKS},
    }
    return jsonschema_rs.Registry([(uri, _load(path)) for uri, path in documents.items()])


@lru_cache(maxsize=64)
def _validator(ref: str) -> Any:
    return jsonschema_rs.Draft202012Validator({"$ref": ref}, registry=_registry(), validate_formats=True)


def validate(value: Any, ref: str) -> list[str]:
    """The problems of `value` under the schema at `ref`."""
    plain = json.loads(json.dumps(value))
    return [f"{'/'.join(map(str, e.instance_path))}: {e.message}" for e in _validator(ref).iter_errors(plain)]


def validate_callback(body: dict[str, Any]) -> list[str]:
    """The problems of a whole message, request or callback; [] when it is in order."""
    action = body["context"]["action"]
    if str(body["context"].get("version", "")).startswith("1."):
        return validate_v1(body)
    if action == "catalog_publish":
        ref = f"{_API}#/components/schemas/CatalogPublishRequest"
    else:
        method = "get" if action == "discover" else "post"
        ref = f"{_API}#/paths/~1beckn~1{action}/{method}/requestBody/content/application~1json/schema"
    return validate(body, ref) + [problem for part in _attributes(body) for problem in _validate_pack(part)]


def validate_v1(body: dict[str, Any]) -> list[str]:
    """The problems of a message of generation 1, under core and under the closed rule set."""
    action = body["context"]["action"]
    if action in _NOT_IN_SCHEMA:
        return []
    ref = f"#/paths/~1{action}/post/requestBody/content/application~1json/schema"
    # The kind of an error is protocol-server's; the closed rules have no room for it, and only the open domains say it.
    closed = {**body, "error": {k: v for k, v in body["error"].items() if k != "type"}} if "error" in body else body
    core = [f"core: {problem}" for problem in validate(body, f"{_CONTEXT}{ref}")]
    return core + [f"uei: {problem}" for problem in validate(closed, f"{_UEI}{ref}")]


def validate_ack(body: dict[str, Any]) -> list[str]:
    """The problems of a synchronous answer of shape C."""
    return validate(body, f"{_NEW}/core/v2/attributes.yaml#/components/schemas/AckResponse")


def _attributes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that names an attribute pack as its context."""
    if isinstance(value, dict):
        if str(value.get("@context", "")).startswith(_NEW) and "/core/" not in value["@context"]:
            yield value
        for child in value.values():
            yield from _attributes(child)
    elif isinstance(value, list):
        for child in value:
            yield from _attributes(child)


def _validate_pack(value: dict[str, Any]) -> list[str]:
    # The packs are closed and list neither @context nor @type; adapters validate what remains without the two.
    pack = value["@context"].removeprefix(_NEW + "/").removesuffix("/context.jsonld")
    ref = f"{_NEW}/{pack}/attributes.yaml#/components/schemas/{value['@type']}"
    content = {name: child for name, child in value.items() if not name.startswith("@")}
    return [f"{value['@type']}: {problem}" for problem in validate(content, ref)]
