"""What the documents promise is so: commands, files, functions, keys, links. Runs without a server."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certification
import pytest
import typer
from docs_blocks import BLOCKS, blocks_of, config_keys, documents, meanings, rewritten

from csms.api.server import OPERATIONS
from csms.cli import app as csms_app
from csms.domain import order_facts
from csms.domain.session_events import CaseType
from csms.observe import Metrics
from csms.ports import Put, Table
from csms.storage import tables
from firmware_profiles import quirks
from simulators.__main__ import app as sim_app

ROOT = Path(__file__).resolve().parent.parent
DOCS = documents()
IDS = [str(path.relative_to(ROOT)) for path in DOCS]
ADR = ROOT / "docs" / "adr"
each_document = pytest.mark.parametrize("path", DOCS, ids=IDS)


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _code(text: str) -> Iterator[str]:
    """Every line of a block for the shell and every code span of one line."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    for language, block in fenced.findall(text):
        if language == "bash":
            yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", fenced.sub("", text))


def _table_cells(text: str, heading: str) -> str:
    """The first column of the tables below a heading, up to the next heading of its level or above."""
    level = re.match(r"#+", heading)
    assert level is not None
    part = text.partition(f"\n{heading}\n")[2]
    part = re.split(rf"^#{{1,{len(level[0])}}} ", part, maxsplit=1, flags=re.MULTILINE)[0]
    return "\n".join(line.split("|")[1] for line in part.splitlines() if line.startswith("| "))


def _source(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


# --- generated blocks


@each_document
def test_generated_blocks_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert rewritten(text) == text, "run `make docs`"


def test_every_generated_block_stands_somewhere() -> None:
    standing = [name for path in DOCS for name in blocks_of(path.read_text(encoding="utf-8"))]
    assert sorted(standing) == sorted(BLOCKS)


# --- commands


def _targets() -> dict[str, str]:
    return {m[1]: m[2] for m in re.finditer(r"^([a-z][a-z-]*):(?!=)(.*)$", _text("Makefile"), re.MULTILINE)}


def test_readme_names_the_two_commands() -> None:
    assert {"make demo", "make test"} <= {line.partition("#")[0].strip() for line in _code(_text("README.md"))}


def test_every_make_target_says_what_it_does() -> None:
    targets = _targets()
    assert [name for name, rest in targets.items() if "## " not in rest] == []
    phony = re.search(r"^\.PHONY: (.*)$", _text("Makefile"), re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(targets)


def test_every_module_the_makefile_runs_exists() -> None:
    for name in re.findall(r"python -m ([\w.]+)", _text("Makefile")):
        module = ROOT / name.replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name
    for name in re.findall(r"\b(?:tests|scripts)/[\w/]+\.py", _text("Makefile")):
        assert (ROOT / name).exists(), name


@each_document
def test_every_make_command_in_a_document_exists(path: Path) -> None:
    targets, makefile = _targets(), _text("Makefile")
    for line in _code(path.read_text(encoding="utf-8")):
        if not re.match(r"make( |$)", line):
            continue
        for word in shlex.split(line, comments=True)[1:]:
            variable = re.match(r"([A-Z]+)=", word)
            known = f"$({variable[1]})" in makefile or f"({variable[1]})" in makefile if variable else word in targets
            assert known, line


def _check_command(words: list[str], app: typer.Typer) -> None:
    command: Any = typer.main.get_command(app)  # typer carries a click of its own: asked by what it has
    rest = words[1:]
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        child = command.commands.get(rest[0])
        assert child is not None, f"{' '.join(words)}: there is no {rest[0]}"
        command, rest = child, rest[1:]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options]
    assert unknown == [], " ".join(words)


@each_document
def test_every_csms_command_in_a_document_exists(path: Path) -> None:
    for line in _code(path.read_text(encoding="utf-8")):
        for command in re.split(r"[;&|]+", line):
            match = re.match(r"\s*(csms(?:-sim)?) [a-z-]", command)
            if match is not None:
                _check_command(
                    shlex.split(command.replace("…", ""), comments=True),
                    csms_app if match[1] == "csms" else sim_app,
                )


def test_a_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(AssertionError):
        _check_command(["csms", "chargers", "fly"], csms_app)
    with pytest.raises(AssertionError):
        _check_command(["csms", "serve", "--fast"], csms_app)


@each_document
def test_every_api_path_in_a_document_exists(path: Path) -> None:
    known = {re.sub(r"\{\w+\}", "{}", operation.path) for operation in OPERATIONS}
    known |= {"/api/docs", "/openapi.json", "/api/v1"}
    text = path.read_text(encoding="utf-8")
    for found in re.findall(
        r"(?<![\w/])(?:http://127\.0\.0\.1:8080)?(/(?:api|healthz|readyz|metrics|version)[^\s`?\"'|,)]*)", text
    ):
        plain = re.sub(r"\{\w+\}", "{}", found.rstrip("./")) or "/"
        parts = plain.split("/")
        assert any(
            len(parts) == len(route.split("/"))
            and all(theirs in {ours, "{}"} for ours, theirs in zip(parts, route.split("/"), strict=True))
            for route in known
        ), found


# --- links, files, functions


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_document
def test_links_resolve(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file.read_text(encoding="utf-8")), target


@each_document
def test_files_named_in_a_document_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    folders = "csms|beckn_adapter|simulators|firmware_profiles|tests|docs|benchmarks"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_the_functions_of_the_flows_exist() -> None:
    named = re.findall(r"(\w[\w/]*\.py)\s+(\w+)\(\)", _text("docs/flows.md"))
    assert len(named) > 40
    for file, function in named:
        assert re.search(rf"^\s*(?:async )?def {function}\(", _text(file), re.MULTILINE), f"{file}: {function}"


def test_no_machine_paths_and_no_package_hosts() -> None:
    home = "|".join(("/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/", "/tmp/" + "bash"))
    hosts = "|".join(("py" + r"pi\.org", "python" + "hosted", "npm" + r"js\.(?:org|com)"))
    pattern = re.compile(rf"(?<![\w.])(?:{home})|(?:{hosts})")
    kept = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".mako", ".cfg", ".ini", ".jsonl", ""}
    hidden = {".venv", ".git", "data", "static", "__pycache__", "build", "dist"}
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.suffix not in kept or not path.is_file() or hidden.intersection(parts) or ".hypothesis" in parts:
            continue
        if any(part.endswith(("_cache", ".egg-info")) for part in parts):
            continue
        found = pattern.search(path.read_text(encoding="utf-8", errors="replace"))
        assert found is None, f"{path.relative_to(ROOT)}: {found[0]}"


# --- keys, kinds, tables, metrics


def test_every_configuration_key_has_a_meaning() -> None:
    said = meanings(_text("docs/operating.md"))
    assert set(said) == set(config_keys())
    assert [key for key, meaning in said.items() if not meaning] == []


@each_document
def test_configuration_keys_named_in_a_document_exist(path: Path) -> None:
    keys = config_keys()
    sections = {key.partition(".")[0] for key in keys if "." in key}
    for section, name in re.findall(r"`([a-z]+)\.([a-z_]+)`", path.read_text(encoding="utf-8")):
        if section in sections and name not in {"py", "md", "toml"}:
            assert f"{section}.{name}" in keys, f"{section}.{name}"


_JOURNALLING = {"Fact", "_fact", "put_session_fact", "put_station_fact"}


def _journalled() -> set[str]:
    """Every kind of fact the program can write, read off its source."""
    kinds = {fact.kind for fact in vars(order_facts).values() if isinstance(getattr(fact, "kind", None), str)}
    for _, module in _source("csms", "beckn_adapter"):
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and _called(node) in _JOURNALLING:
                kinds |= _kinds_of(node)
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_NEWS":
                assert isinstance(node.value, ast.Dict)
                kinds |= {value.value for value in node.value.values if isinstance(value, ast.Constant)}
            if isinstance(node, ast.FunctionDef) and node.name == "over_fact":
                kinds |= set(re.findall(r"'(Instruction\w+)'", ast.unparse(node)))
    return kinds


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _kinds_of(call: ast.Call) -> set[str]:
    first = call.args[1] if _called(call) != "Fact" and len(call.args) > 1 else call.args[0] if call.args else None
    if isinstance(first, ast.Constant):
        return {str(first.value)}
    if isinstance(first, ast.JoinedStr):  # f"{name.capitalize()}Changed" of the three things for sale
        ending = str(first.values[-1].value) if isinstance(first.values[-1], ast.Constant) else ""
        return {f"{name}{ending}" for name in ("Location", "Tariff", "Offer")}
    return set()


def test_every_kind_of_fact_is_documented() -> None:
    documented = set(re.findall(r"[A-Z]\w+", _table_cells(_text("docs/development.md"), "## The journal")))
    assert documented == _journalled()


def test_every_table_is_documented() -> None:
    documented = set(re.findall(r"`(\w+)`", _table_cells(_text("docs/development.md"), "## The tables")))
    assert documented == {table.value for table in Table}
    assert {table.value for table in Table} == set(tables.metadata.tables)


def test_every_prepared_write_says_what_tuple_it_takes() -> None:
    source = _text("csms/storage/hot.py")
    for put in Put:
        assert re.search(rf"^    # [^\n]*\n(?:    #[^\n]*\n)*    Put\.{put.name}:", source, re.MULTILINE), put.name


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"`(csms_\w+)", _table_cells(_text("docs/operating.md"), "## Health, metrics, logs")))
    kinds = {"counter": "_total"}
    assert documented == {m.name + kinds.get(m.type, "") for m in Metrics().registry.collect()}


def test_every_type_of_case_is_documented() -> None:
    documented = set(re.findall(r"[A-Z][A-Z_]+", _table_cells(_text("docs/operating.md"), "## Cases")))
    written = {kind.value for kind in CaseType}
    for _, module in _source("csms/app", "csms/edges", "beckn_adapter"):
        for node in ast.walk(module):
            if isinstance(node, ast.keyword) and node.arg == "type_" and isinstance(node.value, ast.Constant):
                written.add(str(node.value.value))
            if isinstance(node, ast.Call) and _called(node) == "_case":
                written |= {str(a.value) for a in node.args if isinstance(a, ast.Constant) and str(a.value).isupper()}
    assert documented == written | {"QUARANTINE"}


def test_every_quirk_word_has_a_name_and_is_honoured_where_the_list_says() -> None:
    words = {value: name for name, value in vars(quirks).items() if name.isupper() and isinstance(value, str)}
    assert {word.partition("=")[0] for word in words} == set(quirks.QUIRKS)
    for name, quirk in quirks.QUIRKS.items():
        asked_by = {constant for word, constant in words.items() if word.partition("=")[0] == name}
        source = _text(quirk.honoured)
        assert any(re.search(rf"\b{constant}\b", source) for constant in asked_by), f"{quirk.honoured}: {name}"


# --- certification cases


def _asked(version: str) -> Counter[tuple[str, str]]:
    """(profile, mark) -> how many cases."""
    rows = [case for case in certification.cases().values() if case.version == version]
    return Counter((profile, mark) for case in rows for profile, mark in case.profiles.items())


def test_the_ledger_holds_every_case_of_1_6() -> None:
    assert sum(_asked("1.6").values()) == 77
    assert sum(case.version == "1.6" for case in certification.cases().values()) == 77
    assert {mark for _, mark in _asked("1.6")} == {"M"}


def test_the_ledger_holds_every_case_of_2_0_1() -> None:
    asked = _asked("2.0.1")
    later = asked.pop(("LaterEdition", "M"))
    assert asked == {
        ("Core", "M"): 104,
        ("Core", "C"): 27,
        ("AdvancedSecurity", "M"): 4,
        ("LocalList", "M"): 8,
        ("LocalList", "C"): 1,
        ("SmartCharging", "M"): 21,
        ("SmartCharging", "C"): 1,
        ("AdvancedDeviceManagement", "M"): 18,
        ("Reservation", "M"): 6,
        ("Reservation", "C"): 3,
        ("AdvancedUI", "M"): 21,
        ("ISO15118", "M"): 36,
        ("ISO15118", "C"): 2,
    }
    ours = [case for case in certification.cases().values() if case.version == "2.0.1"]
    assert sum("M" in case.profiles.values() for case in ours) - later == 200


def test_core_of_2_0_1_has_as_many_cases_per_block_as_its_matrix() -> None:
    core = [case for case in certification.cases().values() if case.version == "2.0.1"]
    assert Counter(case.block for case in core if case.profiles.get("Core") == "M") == {
        "A": 8, "B": 8, "C": 11, "E": 22, "F": 6, "G": 10, "J": 9, "L": 10, "M": 8, "N": 10, "P": 2,
    }  # fmt: skip


def test_every_case_has_an_id_of_its_form_and_a_title_of_its_own() -> None:
    titles = Counter((case.version, case.block, case.title) for case in certification.cases().values())
    assert [title for title, times in titles.items() if times > 1 or not title[2]] == []
    for case in certification.cases().values():
        assert re.fullmatch(r"TC_\d{3}(_\d)?" if case.version == "1.6" else r"TC_[A-P]_\d{2}", case.id), case.name
        assert set(case.profiles) <= set(certification.PROFILES), case.name


def test_every_marked_case_exists_and_reaches_a_test() -> None:
    assert certification.faults(certification.cases(), certification.shown()) == []


@pytest.mark.skipif(not certification.every_case_answered(), reason="cases.toml: every_case_answered is false")
def test_every_case_has_a_test_or_a_reason() -> None:
    assert certification.unanswered(certification.cases(), certification.shown()) == []


MARKED = """
ROWS = [pytest.param(1, marks=pytest.mark.case("1.6 TC_002")), 2]
LOST = pytest.param(1, marks=pytest.mark.case("1.6 TC_003"))

@pytest.mark.case("1.6 TC_001", "2.0.1 TC_A_01")
async def test_above(): ...

@pytest.mark.parametrize("row", [*ROWS, pytest.param(3, marks=[pytest.mark.case("1.6 TC_004")])])
def test_in_rows(row): ...

class TestInside:
    @pytest.mark.case("1.6 TC_005", name)
    def test_method(self): ...

@pytest.mark.skip(reason="not now")
@pytest.mark.case("1.6 TC_006")
def test_that_does_not_run(): ...

def helper(): "1.6 TC_007"
"""


def test_markers_are_found_wherever_a_test_carries_them() -> None:
    found = certification.Shown()
    certification.read(ast.parse(MARKED), "t.py", found)
    assert {name.partition(" ")[2]: tests for name, tests in found.by.items() if tests} == {
        "TC_001": ["t.py::test_above"],
        "TC_A_01": ["t.py::test_above"],
        "TC_002": ["t.py::test_in_rows"],
        "TC_004": ["t.py::test_in_rows"],
        "TC_005": ["t.py::test_method"],
    }
    # By their lines: a name that no test carries, one that is computed, one outside a marker.
    assert {fault.split(":")[1] for fault in found.faults} == {"3", "12", "19"}


def test_a_marker_that_cannot_be_is_found() -> None:
    one = certification.Case(version="1.6", id="TC_001", title="t", profiles={"Core": "M"})
    two = certification.Case(version="1.6", id="TC_002", title="t", profiles={"Core": "M"}, not_done="no TLS")
    known = {case.name: case for case in (one, two)}
    assert certification.faults(known, certification.Shown(by={one.name: ["a"]})) == []
    assert len(certification.faults(known, certification.Shown(by={two.name: ["a"], f"{one.name}9": ["b"]}))) == 2
    assert certification.unanswered(known, certification.Shown()) == [one.name]
    assert certification.unanswered(known, certification.Shown(by={one.name: ["a"]})) == []


# --- decisions, changes, dependencies


def test_decisions_are_numbered_and_complete() -> None:
    pages = sorted(ADR.glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    index = _text("docs/adr/README.md")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {page.name[:4]} "), page.name
        assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"], page.name
        assert f"({page.name})" in index, page.name


def test_decisions_named_in_the_code_exist() -> None:
    numbers = {page.name[:4] for page in ADR.glob("[0-9]*.md")}
    for path in [*(ROOT / "csms").rglob("*.py"), *(ROOT / "beckn_adapter").rglob("*.py"), ROOT / "pyproject.toml"]:
        assert set(re.findall(r"ADR (\d{4})", path.read_text(encoding="utf-8"))) <= numbers, path.name


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    text = _text("docs/adr/0012-libraries.md").lower()
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        name = re.split(r"[\[<>=!~; ]", requirement)[0].lower()
        assert f"`{name.removeprefix('types-')}`" in text, requirement


def test_the_changelog_keeps_a_place_for_what_is_coming() -> None:
    text = _text("CHANGELOG.md")
    assert "## [Unreleased]" in text
    kinds = set(re.findall(r"^### (\w+)$", text, re.MULTILINE))
    assert kinds <= {"Attention", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@each_document
def test_documents_are_text_a_person_can_read_in_a_terminal(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "\t" not in text
    assert not re.search(r"[ ]+$", text, re.MULTILINE)


def test_the_shell_lines_in_the_documents_parse() -> None:
    for path in DOCS:
        for language, block in re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE):
            if language == "bash":
                done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
                assert done.returncode == 0, f"{path.name}: {done.stderr}"
