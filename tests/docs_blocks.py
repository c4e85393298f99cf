"""The parts of `docs/` that are printed from the code: state machines, configuration, messages.

Such a part stands between `<!-- generated:NAME -->` and `<!-- /generated:NAME -->`. `make docs` rewrites them all;
`test_docs.py` fails while one of them is out of date. In the configuration tables the key, its default and what it
takes come from `csms/config.py`; a meaning that is not written there is yours to write into the table, and stays.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, cast

import certification
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr

from beckn_adapter.v2.codec import ACTIONS
from csms.config import Config
from csms.domain import instruction, order_state, session_states
from csms.edges.exchange import Desk
from csms.edges.ocpp16 import outbound as outbound16
from csms.edges.ocpp16.inbound import Dialect16
from csms.edges.ocpp201 import outbound as outbound201
from csms.edges.ocpp201.inbound import Dialect201
from csms.edges.ocppj.codes import Version
from csms.edges.ocppj.link import Dialect
from csms.edges.ocppj.schemas import schemas_for
from firmware_profiles.quirks import QUIRKS

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"<!-- generated:([a-z0-9-]+) -->\n(.*?)<!-- /generated:\1 -->", re.DOTALL)


def rewritten(text: str) -> str:
    """`text` with every generated block as the code is now. KeyError for a block nobody generates."""
    return _BLOCK.sub(lambda m: f"<!-- generated:{m[1]} -->\n{BLOCKS[m[1]](m[2])}<!-- /generated:{m[1]} -->", text)


def blocks_of(text: str) -> list[str]:
    """The names of the generated blocks in a document."""
    return [match[1] for match in _BLOCK.finditer(text)]


def documents() -> list[Path]:
    """Every document of the project that people read."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


# --- state machines


def _name(value: object) -> str:
    if value is None:
        return "(new)"
    if isinstance(value, Enum):
        return str(value.value)
    return value.__name__ if isinstance(value, type) else str(value)


def machine(transitions: Mapping[tuple[Any, Any], Any], states: Iterable[Any]) -> str:
    """One row per state: what may happen there, and where it leads. Events that lead to one state stand together."""
    lines = ["| state | what may happen there → next state |", "|---|---|"]
    for state in states:
        found: dict[str, list[str]] = {}
        for (before, event), after in transitions.items():
            if before is state:
                to = "stays" if after is before else f"**{_name(after)}**"
                found.setdefault(to, []).append(_name(event))
        cells = [f"{', '.join(events)} → {to}" for to, events in found.items()]
        lines.append(f"| {_name(state)} | {'<br>'.join(cells) or 'nothing: this is the end'} |")
    return "\n".join(lines) + "\n"


def picture(module: Any) -> str:
    """The drawing in a module's docstring."""
    drawn: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        if line.startswith("    "):
            drawn.append(line.removeprefix("    ").rstrip())
        elif drawn and line.strip():
            break
    return "```\n" + "\n".join(drawn).strip("\n") + "\n```\n"


def _session_machine(_: str) -> str:
    table = machine(session_states.TRANSITIONS, [None, *session_states.State])
    return f"{picture(session_states)}\n{table}"


def _order_machine(_: str) -> str:
    from csms.domain import order

    return f"{picture(order)}\n{machine(order_state.TRANSITIONS, order_state.State)}"


def _instruction_machine(_: str) -> str:
    return f"{picture(instruction)}\n{machine(instruction.STEPS, instruction.InstructionState)}"


# --- configuration


def config_keys() -> dict[str, tuple[str, str, str]]:
    """key -> (default, what it takes, meaning as `config.py` has it)."""
    return _keys("", Config)


def _keys(prefix: str, model: type[BaseModel]) -> dict[str, tuple[str, str, str]]:
    out: dict[str, tuple[str, str, str]] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            out |= _keys(f"{prefix}{name}.", field.annotation)
        else:
            out[f"{prefix}{name}"] = (_default(field.default), _takes(field), field.description or "")
    return out


def _default(value: object) -> str:
    match value:
        case None | "":
            return "(empty)"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
        case Path() | str():
            return f'`"{value}"`'
        case int() | float():
            return f"`{value:g}`" if abs(value) < 1_000_000 else f"`{value}`"
    return "(empty)"


def _takes(field: Any) -> str:
    text = str(field.annotation)
    if "Literal[" in text:
        words = text.partition("Literal[")[2].partition("]")[0].replace("'", "")
        return ", ".join(f"`{word.strip()}`" for word in words.split(","))
    if "tuple[str" in text:
        return "list of texts"
    for kind, said in ((SecretStr, "secret text"), (Path, "path"), (bool, "true or false"), (tuple, "list of numbers")):
        if kind.__name__ in text:
            return said
    said = next(
        (said for kind, said in (("dict", "table"), ("float", "number"), ("int", "integer")) if kind in text), ""
    )
    return " ".join(filter(None, [said or "text", *(_bound(limit) for limit in field.metadata)]))


def _bound(limit: object) -> str:
    match limit:
        case Ge(ge=least):
            return f"≥ {least}"
        case Gt(gt=least):
            return f"> {least}"
        case Le(le=most):
            return f"≤ {most}"
        case Lt(lt=most):
            return f"< {most}"
    return ""


def meanings(block: str) -> dict[str, str]:
    """What a configuration table says about each key now."""
    rows = (line.strip("|").split(" | ") for line in block.splitlines() if line.startswith("| `"))
    return {cells[0].strip(" `"): cells[3].strip() for cells in rows if len(cells) == 4}


def _config(block: str) -> str:
    written = meanings(block)
    lines: list[str] = []
    section = None
    for key, (default, takes, meaning) in config_keys().items():
        head = key.rpartition(".")[0]
        if head != section:
            section = head
            lines += ["", f"**{f'`[{head}]`' if head else 'top level'}**", ""] if lines else ["**top level**", ""]
            lines += ["| key | default | takes | meaning |", "|---|---|---|---|"]
        lines.append(f"| `{key}` | {default} | {takes} | {_joined(meaning, written.get(key, ''))} |")
    return "\n".join(lines) + "\n"


def _joined(meaning: str, written: str) -> str:
    """`config.py` has the first word; what the table adds behind it stays."""
    said = meaning.rstrip(".") + "." if meaning else ""
    if re.match(r"[a-z]+\b[^:]", said):
        said = said[0].upper() + said[1:]
    if not said or written.startswith(said):
        return written or said
    return said


# --- what is spoken


def _ocpp(version: Version, dialect: Dialect, sent: Iterable[str]) -> str:
    incoming, outgoing = set(dialect.handlers), set(sent)
    lines = ["| message | charger → us | us → charger |", "|---|---|---|"]
    for action in sorted(schemas_for(version).actions | incoming | outgoing):
        comes = ""
        if action in incoming:
            told = (dialect.handlers[action].__doc__ or "").splitlines()[0].removeprefix(f"{action}: ").rstrip(".")
            said = "Understood" if told.rstrip(".") == action else told[:1].upper() + told[1:]
            comes = said + (" (carries money)" if action in dialect.money_actions else "")
        lines.append(f"| {action} | {comes} | {'yes' if action in outgoing else ''} |")
    return "\n".join(lines) + "\n"


def _ocpp16(_: str) -> str:
    return _ocpp(Version.V16, Dialect16(cast("Desk", None)), outbound16.csms_actions())


def _ocpp201(_: str) -> str:
    return _ocpp(Version.V201, Dialect201(cast("Desk", None)), outbound201.csms_actions())


def _cases(_: str) -> str:
    return certification.summary()


def _cases16(_: str) -> str:
    return certification.table("1.6")


def _cases201(_: str) -> str:
    return certification.table("2.0.1")


def _quirks(_: str) -> str:
    rows = ["| word | … | honoured by |", "|---|---|---|"]
    for name, quirk in QUIRKS.items():
        words = ", ".join(f"`{spelling}`" for spelling in quirk.spellings(name))
        rows.append(f"| {words} | {quirk.meaning} | `{quirk.honoured}` |")
    return "\n".join(rows) + "\n"


def _beckn(_: str) -> str:
    return ", ".join(f"`{action}`" for action in sorted(ACTIONS)) + "\n"


BLOCKS: dict[str, Callable[[str], str]] = {
    "session-machine": _session_machine,
    "order-machine": _order_machine,
    "instruction-machine": _instruction_machine,
    "config": _config,
    "ocpp16": _ocpp16,
    "ocpp201": _ocpp201,
    "beckn-actions": _beckn,
    "quirks": _quirks,
    "cases": _cases,
    "cases16": _cases16,
    "cases201": _cases201,
}


def main() -> int:
    """Rewrite what is out of date and say which files changed."""
    for path in documents():
        before = path.read_text(encoding="utf-8")
        after = rewritten(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
