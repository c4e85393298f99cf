"""Checking received callbacks against a folder with `beckn.yaml` and the EV packs.

The folder is not part of the product; who has one passes it (`--schema DIR`). References to the published URLs
are resolved inside the folder, nothing is fetched. Formats are checked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs

from simulators.bodies import BASE

# The classic context the v2 file refers to is not in the folder; it names no required member (BECKN 1.4).
CLASSIC = "https://raw.githubusercontent.com/beckn/protocol-specifications/refs/heads/master/api/transaction/build/transaction.yaml"
CONTEXT_STUB = {"components": {"schemas": {"Context": {"type": "object"}}}}
# The networks whose own rules the layer-2 file is.
CLOSED_DOMAINS = frozenset({"ev-charging:uei", "dent:ev-charging:0.1.0"})


class Schemas:
    """The validators of one folder, by action. A folder without `beckn.yaml` is a FileNotFoundError."""

    def __init__(self, folder: Path) -> None:
        self._documents = {
            f"{BASE}/{path.relative_to(folder).as_posix()}": _load(path)
            for path in sorted(folder.rglob("attributes.yaml"))
        }
        self._api = _load(folder / "beckn.yaml")
        self._documents[f"{BASE}/beckn.yaml"] = self._api
        self._documents[CLASSIC] = CONTEXT_STUB
        self._actions: dict[str, Any] = {}
        self._packs: dict[str, Any] = {}

    def faults(self, action: str, body: dict[str, Any]) -> list[str]:
        """What `body` breaks as a message of `action`, packs included; empty when it is in order."""
        path = "/beckn/catalog/on_publish" if action == "on_catalog_publish" else f"/beckn/{action}"
        if path not in self._api["paths"]:
            return [f"no such action: {action}"]
        found = _tell(self._action(path), body)
        for where, part in _packed(body, ""):
            validator = self._pack(part["@context"], part["@type"])
            if validator is None:
                found.append(f"{where}: {part['@type']} of {part['@context']} is not known")
            else:
                # The packs are closed and list no JSON-LD keywords: they describe what stands beside them.
                found += _tell(validator, {k: v for k, v in part.items() if not k.startswith("@")}, where)
        return found

    def _action(self, path: str) -> Any:
        if path not in self._actions:
            verb = "post" if "post" in self._api["paths"][path] else "get"
            escaped = path.replace("~", "~0").replace("/", "~1")
            pointer = f"/paths/{escaped}/{verb}/requestBody/content/application~1json/schema"
            self._actions[path] = self._validator(f"{BASE}/beckn.yaml#{pointer}")
        return self._actions[path]

    def _pack(self, context: str, name: str) -> Any:
        document = context.replace("context.jsonld", "attributes.yaml")
        if document not in self._documents or name not in self._documents[document]["components"]["schemas"]:
            return None
        reference = f"{document}#/components/schemas/{name}"
        if reference not in self._packs:
            self._packs[reference] = self._validator(reference)
        return self._packs[reference]

    def _validator(self, reference: str) -> Any:
        registry = jsonschema_rs.Registry([*self._documents.items()])
        return jsonschema_rs.Draft202012Validator({"$ref": reference}, registry=registry, validate_formats=True)


def _load(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError as missing:  # a development tool: only who checks schemas needs it
        raise RuntimeError("checking against schemas needs PyYAML (pip install pyyaml)") from missing
    # Through JSON: YAML reads an example's date as a date, which no JSON schema can hold.
    document: dict[str, Any] = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
    return document


def _packed(part: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    """Every object of a pack inside `part`, with its place. The packs are closed by themselves."""
    found: list[tuple[str, dict[str, Any]]] = []
    if isinstance(part, dict):
        context = part.get("@context", "")
        if isinstance(context, str) and "/core/" not in context and context and "@type" in part:
            found.append((where, part))
        for key, value in part.items():
            found += _packed(value, f"{where}/{key}")
    elif isinstance(part, list):
        for number, value in enumerate(part):
            found += _packed(value, f"{where}/{number}")
    return found


def _tell(validator: Any, body: Any, where: str = "") -> list[str]:
    return [
        f"{where}/{'/'.join(str(step) for step in fault.instance_path)}: {fault.message[:300]}"
        for fault in validator.iter_errors(body)
    ]


class ClassicSchemas:
    """The validators of generation 1, by action, out of one or more OpenAPI files (core 1.1.1, a layer-2 rule set)."""

    def __init__(self, *files: Path) -> None:
        self._documents = {f"file:///{path.name}": _load(path) for path in files}
        self._registry: Any = jsonschema_rs.Registry([*self._documents.items()])
        self._actions: dict[tuple[str, str], Any] = {}

    def faults(self, action: str, body: dict[str, Any]) -> list[str]:
        """What `body` breaks as a message of `action`; `rating_categories` stands in no schema (BECKN 5.6)."""
        if action == "rating_categories":
            return []
        found = []
        for uri, document in self._documents.items():
            if f"/{action}" not in document["paths"]:
                return [f"no such action: {action}"]
            held = _without_error_type(body) if "layer2" in uri else body
            found += [f"{uri.rpartition('/')[2]}: {fault}" for fault in _tell(self._validator(uri, action), held)]
        return found

    def _validator(self, uri: str, action: str) -> Any:
        if (uri, action) not in self._actions:
            pointer = f"/paths/~1{action}/post/requestBody/content/application~1json/schema"
            self._actions[uri, action] = jsonschema_rs.Draft202012Validator(
                {"$ref": f"{uri}#{pointer}"}, registry=self._registry, validate_formats=True
            )
        return self._actions[uri, action]


def _without_error_type(body: dict[str, Any]) -> dict[str, Any]:
    """An error may say its `type` (BECKN 1.8); the closed rules of one network, and of that one only, forbid it."""
    if "error" not in body or body["context"].get("domain") in CLOSED_DOMAINS:
        return body
    return {**body, "error": {name: value for name, value in body["error"].items() if name != "type"}}


class EverySchema:
    """Both generations: a message is held to the one its context names."""

    def __init__(self, second: Schemas, first: ClassicSchemas) -> None:
        self._second, self._first = second, first

    def faults(self, action: str, body: dict[str, Any]) -> list[str]:
        """As theirs."""
        is_first = str(body.get("context", {}).get("version", "")).startswith("1.")
        return (self._first if is_first else self._second).faults(action, body)


def schemas_of(folder: Path) -> Schemas | ClassicSchemas:
    """The checks a folder holds: `beckn.yaml` with its packs, or the OpenAPI files of generation 1."""
    if (folder / "beckn.yaml").is_file():
        return Schemas(folder)
    files = [path for path in sorted(folder.glob("*.yaml")) if "/on_search" in _load(path).get("paths", {})]
    if not files:
        raise FileNotFoundError(f"{folder} holds neither beckn.yaml nor an OpenAPI file with /on_search")
    return ClassicSchemas(*files)
