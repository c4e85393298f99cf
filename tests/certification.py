"""The certification cases (`conformance/cases.toml`) and the tests that show them, read off the tests' source.

A test carries its cases as a marker of plain text: `@pytest.mark.case("1.6 TC_046")` above it, or as the `marks` of a
`pytest.param`, written in the decorator or in a list of the module that the decorator names.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS / "conformance" / "cases.toml"
VERSIONS = ("1.6", "2.0.1")
PROFILES = {  # as the file names them -> in words
    "Core": "Core",
    "LocalAuthListManagement": "local authorization list",
    "FirmwareManagement": "firmware and diagnostics",
    "RemoteTrigger": "remote trigger",
    "Security": "security",
    "AdvancedSecurity": "advanced security",
    "LocalList": "local authorization list",
    "Reservation": "reservation",
    "SmartCharging": "smart charging",
    "AdvancedDeviceManagement": "advanced device management",
    "AdvancedUI": "advanced user interface",
    "ISO15118": "ISO 15118",
    "LaterEdition": "in a later edition",
}
BLOCKS = {
    "A": "Security", "B": "Provisioning", "C": "Authorization", "D": "Local authorization list", "E": "Transactions",
    "F": "Remote control", "G": "Availability", "H": "Reservation", "I": "Tariff and cost", "J": "Meter values",
    "K": "Smart charging", "L": "Firmware", "M": "Certificates", "N": "Diagnostics and monitoring",
    "O": "Display messages", "P": "Data transfer",
}  # fmt: skip
_NAME = re.compile(r"(?:1\.6|2\.0\.1) TC_\w+")
_MARKER = "pytest.mark.case"
_OFF = ("pytest.mark.skip", "pytest.mark.xfail")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case; `profiles` says who asks for it, M or C."""

    version: str
    id: str
    title: str
    profiles: dict[str, str]
    not_done: str = ""

    @property
    def name(self) -> str:
        """As a marker names it."""
        return f"{self.version} {self.id}"

    @property
    def block(self) -> str:
        """2.0.1: the functional block. 1.6: the profile."""
        return self.id.split("_")[1] if self.version == "2.0.1" else next(iter(self.profiles))


@dataclass(slots=True)
class Shown:
    """What the tests say: case -> the tests that carry it, and what is wrong with the markers."""

    by: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def cases() -> dict[str, Case]:
    """Every case by its name, in the order of the file."""
    source = _source()
    found = [Case(version=version, id=number, **row) for version in VERSIONS for number, row in source[version].items()]
    return {case.name: case for case in found}


def every_case_answered() -> bool:
    """Whether a case may no longer be without both a test and a reason."""
    return bool(_source()["every_case_answered"])


def _source() -> dict[str, Any]:
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def shown() -> Shown:
    """The markers of every test file."""
    found = Shown()
    for path in sorted(TESTS.rglob("test_*.py")):
        read(ast.parse(path.read_text(encoding="utf-8")), str(path.relative_to(TESTS)), found)
    return found


def read(module: ast.Module, file: str, into: Shown) -> None:
    """The markers of one file, as `file::test`. A name of a case that reaches no test is a fault."""
    lists = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    lists |= {
        node.target.id: node.value
        for node in module.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    }
    reached: set[int] = set()
    for test in _tests(module):
        decoration = [*test.decorator_list, *_named(test, lists)]
        off = any(_said(node).startswith(_OFF) for node in test.decorator_list)
        for marker in (node for part in decoration for node in ast.walk(part) if _is_marker(node)):
            assert isinstance(marker, ast.Call)
            for argument in marker.args:
                if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                    into.faults.append(f"{file}:{argument.lineno}: a case is named by plain text")
                    continue
                reached.add(id(argument))
                where = f"{file}::{test.name}"
                if not off and where not in into.by.setdefault(argument.value, []):
                    into.by[argument.value].append(where)
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and _is_name(node.value) and id(node) not in reached:
            into.faults.append(f"{file}:{node.lineno}: {node.value} is named and belongs to no test")


def _tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _named(test: ast.FunctionDef | ast.AsyncFunctionDef, lists: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """The lists of the module that the decorators of a test name."""
    for decorator in test.decorator_list:
        for node in ast.walk(decorator):
            if isinstance(node, ast.Name) and node.id in lists:
                yield lists[node.id]


def _is_marker(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _said(node.func) == _MARKER


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _said(node: ast.expr) -> str:
    return ast.unparse(node)


def faults(known: dict[str, Case], found: Shown) -> list[str]:
    """Markers that say what cannot be: an unknown case, or one that is said to be not done."""
    out = list(found.faults)
    for name, tests in found.by.items():
        if name not in known:
            out.append(f"{tests[0]}: there is no case {name}" if tests else f"there is no case {name}")
        elif tests and known[name].not_done:
            out.append(f"{tests[0]}: {name} stands as not done ({known[name].not_done})")
    return out


def unanswered(known: dict[str, Case], found: Shown) -> list[str]:
    """Cases with neither a test nor a reason."""
    return [name for name, case in known.items() if not case.not_done and not found.by.get(name)]


# --- as a document


def summary() -> str:
    """One row per version and profile: cases, shown, not done, without a test."""
    known, found = cases(), shown()
    lines = ["| | mark | cases | shown by a test | not done | no test yet |", "|---|---|---|---|---|---|"]
    for version in VERSIONS:
        mine = [case for case in known.values() if case.version == version]
        for profile, words in PROFILES.items():
            for mark in ("M", "C"):
                asked = [case for case in mine if case.profiles.get(profile) == mark]
                if asked:
                    lines.append(f"| {version} {words} | {mark} | {_counts(asked, found)} |")
        lines.append(f"| **{version}, every case once** | | {_counts(mine, found)} |")
    return "\n".join(lines) + "\n"


def _counts(asked: list[Case], found: Shown) -> str:
    shown_n = sum(bool(found.by.get(case.name)) for case in asked)
    not_done_n = sum(bool(case.not_done) for case in asked)
    return f"{len(asked)} | {shown_n} | {not_done_n} | {len(asked) - shown_n - not_done_n}"


def table(version: str) -> str:
    """One small table per profile (1.6) or block (2.0.1): case, title, mark, and what shows it."""
    known, found = cases(), shown()
    mine = [case for case in known.values() if case.version == version]
    parts = []
    for block in dict.fromkeys(case.block for case in mine):
        words = f"{block} {BLOCKS[block]}" if version == "2.0.1" else PROFILES[block]
        head = words[0].upper() + words[1:]
        rows = [_row(case, found) for case in mine if case.block == block]
        parts.append("\n".join([f"**{head}**", "", "| case | | mark | state |", "|---|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _row(case: Case, found: Shown) -> str:
    one_profile = case.version == "1.6" or list(case.profiles) == ["Core"]
    mark = ", ".join(mark if one_profile else f"{PROFILES[profile]} {mark}" for profile, mark in case.profiles.items())
    return f"| {case.id} | {case.title} | {mark} | {_state(case, found)} |"


def _state(case: Case, found: Shown) -> str:
    if case.not_done:
        return f"not done: {case.not_done}"
    tests = found.by.get(case.name, [])
    return "shown by " + "<br>".join(f"`{test}`" for test in tests) if tests else "no test yet"
