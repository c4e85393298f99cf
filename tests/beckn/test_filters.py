"""Filter expressions: every published form, hostile texts, and the meaning of missing and many."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beckn_adapter.filters import (
    MAX_CHARS,
    And,
    Compare,
    Each,
    Exists,
    Filter,
    FilterProblem,
    Not,
    Or,
    Path,
    Truth,
    Value,
    conjuncts,
    parse,
    unparse,
)
from beckn_adapter.matching import MAX_WORK, TooMuchWork, Work, matches

ITEM: dict[str, object] = {
    "@type": "beckn:Item",
    "beckn:id": "IND*mycpo*st-7*IN*MYC*E0012*1",
    "beckn:isActive": True,
    "beckn:provider": {"beckn:id": "mycpo"},
    "beckn:availabilityWindow": [
        {"schema:startTime": "06:00:00+05:30", "schema:endTime": "12:00:00+05:30"},
        {"schema:startTime": "13:00:00+05:30", "schema:endTime": "22:00:00+05:30"},
    ],
    "beckn:itemAttributes": {
        "evseId": "IN*MYC*E0012",
        "connectorType": "CCS2",
        "maxPowerKW": 60,
        "amenityFeature": ["RESTROOM", "WI-FI"],
        "chargingStation": {"id": "st-7"},
    },
}

ATTRIBUTES = "@.beckn:itemAttributes"


@pytest.mark.parametrize(
    "text",
    [
        # connector and power, unquoted names with colons
        f"$[?({ATTRIBUTES}.connectorType == 'CCS2' && {ATTRIBUTES}.maxPowerKW >= 50)]",
        # by operator, both spellings
        "$[?(@.beckn:provider.beckn:id == 'mycpo')]",
        "$[?(@['beckn:provider']['beckn:id'] == 'mycpo')]",
        # by item, without spaces, and by EVSE
        "$[?(@.beckn:id=='IND*mycpo*st-7*IN*MYC*E0012*1')]",
        "$[?(@['beckn:id']=='IND*mycpo*st-7*IN*MYC*E0012*1')]",
        "$[?(@['beckn:itemAttributes']['evseId']=='IN*MYC*E0012')]",
        # a time range over several lines
        f"""$[?(
            {ATTRIBUTES}.connectorType == 'CCS2' &&
            @.beckn:availabilityWindow.schema:startTime <= '14:30:00' &&
            @.beckn:availabilityWindow.schema:endTime >= '17:30:00'
        )]""",
        # several names in one bracket, double quotes, bare, below the items, without inner parentheses
        "$[?(@['beckn:itemAttributes.chargingStation.id'] == \"st-7\")]",
        f"{ATTRIBUTES}.maxPowerKW > 50.5",
        f"$.beckn:items[?({ATTRIBUTES}.maxPowerKW < 1e3)]",
        "$['beckn:items'][?(@.beckn:isActive == true)]",
        "$.catalogs[*].beckn:items[?(@.beckn:isActive)]",
        f"$[?{ATTRIBUTES}.maxPowerKW == 60]",
        f"$[?({ATTRIBUTES}.maxPowerKW == 60) && (@.beckn:isActive != false)]",
        f"$[?(!({ATTRIBUTES}.connectorType == 'Type2') && !@.beckn:rating)]",
        # arrays are existential
        f"$[?({ATTRIBUTES}.amenityFeature == 'WI-FI')]",
        f"$[?({ATTRIBUTES}.amenityFeature[*] == 'WI-FI')]",
        f"$[?({ATTRIBUTES}.amenityFeature[0] == 'RESTROOM')]",
        f"$[?({ATTRIBUTES}.amenityFeature[-1] == 'WI-FI')]",
        "$[?(@.beckn:provider.* == 'mycpo')]",
        f"$[?('CCS2' == {ATTRIBUTES}.connectorType || false)]",
    ],
)
def test_a_published_form_finds_the_item(text: str) -> None:
    assert matches(parse(text), ITEM)


@pytest.mark.parametrize(
    "text",
    [
        f"$[?({ATTRIBUTES}.maxPowerKW > 60)]",
        f"$[?({ATTRIBUTES}.maxPowerKW == '60')]",
        f"$[?({ATTRIBUTES}.absent == 1)]",
        f"$[?({ATTRIBUTES}.absent != 1)]",
        f"$[?({ATTRIBUTES}.absent == null)]",
        f"$[?({ATTRIBUTES}.absent.deeper < 'x')]",
        "$[?(@.absent == @.alsoAbsent)]",
        "$[?(@.beckn:isActive == 1)]",
        "$[?(@.beckn:isActive == 'true')]",
        f"$[?({ATTRIBUTES}.amenityFeature[7] == 'WI-FI')]",
        f"$[?({ATTRIBUTES}.connectorType > 5)]",
        "$[?(!@.beckn:isActive)]",
        "$[?(false)]",
        # open in the morning and in the afternoon, but not across noon
        "$[?(@.beckn:availabilityWindow.schema:startTime <= '11:30:00' &&"
        " @.beckn:availabilityWindow.schema:endTime >= '14:30:00')]",
    ],
)
def test_the_item_is_not_found(text: str) -> None:
    assert not matches(parse(text), ITEM)


def test_clock_times_are_compared_without_their_offset() -> None:
    window = {"beckn:availabilityWindow": [{"schema:startTime": "11:30:00+05:30"}]}
    assert matches(parse("@.beckn:availabilityWindow.schema:startTime == '11:30:00'"), window)
    assert matches(parse("@.beckn:availabilityWindow.schema:startTime <= '11:30:00Z'"), window)
    assert not matches(parse("@.beckn:availabilityWindow.schema:startTime < '11:30:00'"), window)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("$", 1),
        ("$[?(@.a == )]", 11),
        ("$[?(@.a = 1)]", 8),
        ("$[?(@.a == 1)", 13),
        ("$[?(@.a == 1)] x", 15),
        ("$[?(@.a == 'x)]", 11),
        ("$[?(@..a)]", 6),
        ("$[?(@[1.5] == 1)]", 9),
        ("$[?(@[a] == 1)]", 6),
        ("$[?(1)]", 4),
        ("$[?('x')]", 4),
        ("$[?(@.a =~ 'x')]", 8),
        ("$[?(match(@.a, 'x'))]", 4),
        ("$.beckn:offers[?(@.a == 1)]", 16),
        ("__import__('os')", 0),
        ("@.a == 1e999", 7),
        ("@.a == " + "9" * 50, 7),
        ("@.a == 'x\\q'", 11),
        ("@.a == '\\ud800'", 14),
    ],
)
def test_a_wrong_filter_is_refused_with_its_position(text: str, position: int) -> None:
    with pytest.raises(FilterProblem) as caught:
        parse(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        "x" * (MAX_CHARS + 1),
        "(" * 2000 + "true" + ")" * 2000,
        "!" * 2000 + "true",
        "$" + "[*]" * 1300,
        "@" + ".a" * 2000,
        " || ".join(["@.a"] * 600),
    ],
)
def test_a_filter_made_to_cost_is_refused(text: str) -> None:
    with pytest.raises(FilterProblem):
        parse(text)


def test_the_deepest_allowed_nesting_is_read() -> None:
    assert parse("(" * 32 + "true" + ")" * 32) == Truth(True)


def test_precedence_and_grouping() -> None:
    a, b, c = (Exists(Path((name,))) for name in "abc")
    assert parse("@.a || @.b && @.c") == Or((a, And((b, c))))
    assert parse("(@.a || @.b) && @.c") == And((Or((a, b)), c))
    assert parse("!@.a && @.b") == And((Not(a), b))
    assert conjuncts(parse("(@.a && @.b) && @.c")) == (a, b, c)


def test_one_and_true_are_different_values() -> None:
    assert Value(1) != Value(True)
    assert Value(1) == Value(1)
    assert Value(1) != 1


PIECES = st.sampled_from(
    [
        "$",
        "[?",
        "(",
        ")",
        "]",
        "@",
        ".a",
        "['b:c']",
        "[*]",
        "[0]",
        "==",
        "!=",
        "<",
        "&&",
        "||",
        "!",
        "'x'",
        '"',
        "1",
        "-2.5",
        "1e",
        "true",
        "null",
        "\\",
        "*",
        "beckn:items",
        "§",
        "\x00",
        " ",
        "\n",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join)))
@settings(max_examples=400)
def test_any_text_is_a_filter_or_a_filter_problem(text: str) -> None:
    with contextlib.suppress(FilterProblem):
        found = parse(text)
        assert parse(unparse(found)) == found
        assert matches(found, ITEM) in (True, False)


NAMES = st.one_of(st.sampled_from(["a", "beckn:id", "*", "", "a.b", "ü", "x'y", 'x"y', "\\"]), st.text(max_size=5))
STEPS = st.one_of(NAMES, st.integers(-99, 99), st.builds(Each))
PATHS = st.builds(Path, st.lists(STEPS, max_size=4).map(tuple))
VALUES = st.builds(
    Value,
    st.one_of(
        st.text(max_size=8),
        st.integers(-(10**12), 10**12),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
    ),
)
OPERANDS = st.one_of(PATHS, VALUES)
LEAVES = st.one_of(
    st.builds(Truth, st.booleans()),
    st.builds(Exists, PATHS),
    st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), OPERANDS, OPERANDS),
)


def branches(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    parts = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(And, parts), st.builds(Or, parts), st.builds(Not, inner))


@given(st.recursive(LEAVES, branches, max_leaves=8))
def test_printing_and_parsing_are_inverse(found: Filter) -> None:
    assert parse(unparse(found)) == found


# --- what a filter may cost


EVERYTHING = "@.*.*.*.* == @.*.*.*.*"


def spent(text: str, document: dict[str, object]) -> int:
    """The work of one evaluation."""
    work = Work(MAX_WORK)
    matches(parse(text), document, work)
    return MAX_WORK - work.left


@given(st.one_of(st.recursive(LEAVES, branches, max_leaves=8)))
def test_the_work_of_a_filter_is_bounded_by_its_size_and_the_document(found: Filter) -> None:
    work = Work(MAX_WORK)
    matches(found, ITEM, work)
    leaves = 40  # more than ITEM has
    assert MAX_WORK - work.left <= len(unparse(found)) * leaves * leaves


def test_comparing_everything_with_everything_is_charged_for() -> None:
    large: dict[str, object] = {str(n): {str(m): {"a": {"b": n * m}} for m in range(10)} for n in range(10)}
    assert spent(EVERYTHING, large) > 10_000
    with pytest.raises(TooMuchWork):
        matches(parse(" && ".join([EVERYTHING] * 20)), large, Work(50_000))


def test_a_filter_that_is_done_early_costs_little() -> None:
    assert spent(f"false && {EVERYTHING}", ITEM) == 0
