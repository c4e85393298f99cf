"""The filter expressions of `discover`: parsed and printed; what they mean of a document stands in `matching`.

Buyers send something close to JSONPath (BECKN 4.3) that no conforming parser accepts: unquoted names with
colons, several names in one bracket, dots into arrays. This grammar takes all published variants and nothing
that could cost more than the length of the text:

    filter   := '$' prefix '[?' or ']' | or
    or       := and ('||' and)*          and := test ('&&' test)*
    test     := '!' test | '(' or ')' | true | false | operand (op operand)?
    op       := == != < <= > >=
    operand  := path | 'text' | "text" | number | true | false | null
    path     := '@' ('.' name | "['" name "']" | '[*]' | '[' number ']')*

"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MAX_CHARS: Final = 4096
MAX_DEPTH: Final = 32
MAX_NODES: Final = 256
OPERATORS: Final = ("==", "!=", "<=", ">=", "<", ">")
NAME_EXTRAS: Final = frozenset("_-:@*")
SPACES: Final = frozenset(" \t\r\n\u00a0")
ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}

Literal = str | int | float | bool | None


class FilterProblem(ValueError):
    """The text is not a filter we can read. `position` counts characters from 0."""

    def __init__(self, position: int, sentence: str) -> None:
        super().__init__(f"{sentence} (at character {position})")
        self.position = position
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Each:
    """`[*]` or `.*`: every element."""


Step = str | int | Each


@dataclass(frozen=True, slots=True)
class Path:
    """Where to look, from the item."""

    steps: tuple[Step, ...]

    def names(self) -> tuple[str, ...]:
        """The names along the way, a dotted bracket taken apart."""
        return tuple(part for step in self.steps if isinstance(step, str) for part in step.split("."))


@dataclass(frozen=True, slots=True)
class Value:
    """A literal. Equal only to a literal of the same type, so that `1` and `true` stay apart."""

    value: Literal

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value):
            return NotImplemented
        return type(self.value) is type(other.value) and self.value == other.value

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True, slots=True)
class Compare:
    """`left op right`."""

    op: str
    left: Path | Value
    right: Path | Value


@dataclass(frozen=True, slots=True)
class Exists:
    """The path leads somewhere."""

    path: Path


@dataclass(frozen=True, slots=True)
class Truth:
    """A bare `true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class Not:
    """The operand does not hold."""

    of: Filter


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds; two parts or more."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Some part holds; two parts or more."""

    parts: tuple[Filter, ...]


Filter = Compare | Exists | Truth | Not | And | Or


# --- parsing ------------------------------------------------------------------------------------------------


def parse(text: str) -> Filter:
    """Read a filter expression. Raises FilterProblem and nothing else, on any text."""
    if len(text) > MAX_CHARS:
        raise FilterProblem(MAX_CHARS, f"the filter is longer than {MAX_CHARS} characters")
    return _Parser(text).filter()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self._nodes = 0

    def filter(self) -> Filter:
        self._spaces()
        if self._take("$"):
            self._prefix()
            found = self._or()
            self._spaces()
            self._expect("]")
        else:
            found = self._or()
        self._spaces()
        if self._at < len(self._text):
            raise self._problem("the filter should end here")
        return found

    def _prefix(self) -> None:
        """What stands between `$` and `[?`: nothing, or the way to the items."""
        steps: list[Step] = []
        while True:
            self._spaces()
            if self._text.startswith("[?", self._at):
                self._at += 2
                break
            step = self._step()
            if step is None:
                raise self._problem("expected [? … ]")
            steps.append(step)
        names = [step for step in steps if isinstance(step, str)]
        if names and names[-1].rpartition(":")[2] != "items":
            raise self._problem("only items can be filtered")

    def _or(self) -> Filter:
        parts = [self._and()]
        while self._operator("||"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _and(self) -> Filter:
        parts = [self._test()]
        while self._operator("&&"):
            parts.append(self._test())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _test(self) -> Filter:
        self._count()
        self._spaces()
        if self._text.startswith("!", self._at) and not self._text.startswith("!=", self._at):
            self._at += 1
            with_not = self._nested(self._test)
            return Not(with_not)
        if self._take("("):
            inside = self._nested(self._or)
            self._spaces()
            self._expect(")")
            return inside
        return self._comparison()

    def _comparison(self) -> Filter:
        start = self._at
        left = self._operand()
        self._spaces()
        op = next((op for op in OPERATORS if self._text.startswith(op, self._at)), None)
        if op is not None:
            self._at += len(op)
            self._spaces()
            return Compare(op, left, self._operand())
        if isinstance(left, Path):
            return Exists(left)
        if isinstance(left.value, bool):
            return Truth(left.value)
        raise FilterProblem(start, "a value alone is neither true nor false; compare it with something")

    def _operand(self) -> Path | Value:
        self._count()
        char = self._peek()
        if char == "@":
            self._at += 1
            return self._path()
        if char in ("'", '"'):
            return Value(self._string())
        if char == "-" or _is_digit(char):
            return Value(self._number())
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return Value(value)
        raise self._problem("expected a path starting with @, a quoted text, a number, true, false or null")

    def _path(self) -> Path:
        steps: list[Step] = []
        while True:
            step = self._step()
            if step is None:
                return Path(tuple(steps))
            self._count()
            steps.append(step)

    def _step(self) -> Step | None:
        if self._take("."):
            name = self._name()
            return Each() if name == "*" else name
        if self._peek() != "[":
            return None
        self._at += 1
        self._spaces()
        step: Step
        char = self._peek()
        if char in ("'", '"'):
            step = self._string()
        elif char == "*":
            self._at += 1
            step = Each()
        elif char == "-" or _is_digit(char):
            number = self._number()
            if not isinstance(number, int):
                raise self._problem("an index is a whole number")
            step = number
        else:
            raise self._problem("expected a name in quotes, * or an index")
        self._spaces()
        self._expect("]")
        return step

    def _name(self) -> str:
        start = self._at
        while _is_name_char(self._peek()):
            self._at += 1
        if self._at == start:
            raise self._problem("expected a name after the dot")
        return self._text[start : self._at]

    def _string(self) -> str:
        quote, start = self._peek(), self._at
        self._at += 1
        out: list[str] = []
        while True:
            char = self._peek()
            if char == "":
                raise FilterProblem(start, "this text is not closed")
            self._at += 1
            if char == quote:
                return "".join(out)
            out.append(self._escape() if char == "\\" else char)

    def _escape(self) -> str:
        char = self._peek()
        self._at += 1
        if char in ("\\", "'", '"', "/"):
            return char
        if char in ESCAPES:
            return ESCAPES[char]
        if char == "u":
            code = self._four_hex()
            if 0xD800 <= code <= 0xDBFF and self._take("\\u"):
                low = self._four_hex()
                if 0xDC00 <= low <= 0xDFFF:
                    return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00))
                raise self._problem("half a character")
            if 0xD800 <= code <= 0xDFFF:
                raise self._problem("half a character")
            return chr(code)
        raise self._problem("an escape that means nothing")

    def _four_hex(self) -> int:
        digits = self._text[self._at : self._at + 4]
        if len(digits) != 4 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise self._problem("expected four hexadecimal digits")
        self._at += 4
        return int(digits, 16)

    def _number(self) -> int | float:
        start = self._at
        self._take("-")
        self._digits()
        is_whole = True
        if self._take("."):
            self._digits()
            is_whole = False
        if self._peek() in ("e", "E"):
            self._at += 1
            if self._peek() in ("+", "-"):
                self._at += 1
            self._digits()
            is_whole = False
        text = self._text[start : self._at]
        if is_whole:
            # A number longer than this is a denial-of-service attempt or a text that wants quotes.
            if len(text) > 40:
                raise FilterProblem(start, "this number is too long")
            return int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise FilterProblem(start, "this number is too large")
        return number

    def _digits(self) -> None:
        start = self._at
        while _is_digit(self._peek()):
            self._at += 1
        if self._at == start:
            raise self._problem("expected a digit")

    # the small moves

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._problem(f"expected {text}")

    def _operator(self, text: str) -> bool:
        self._spaces()
        return self._take(text)

    def _spaces(self) -> None:
        while self._peek() in SPACES:
            self._at += 1

    def _nested(self, read: Callable[[], Filter]) -> Filter:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._problem(f"the filter is nested deeper than {MAX_DEPTH}")
        found = read()
        self._depth -= 1
        return found

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._problem(f"the filter has more than {MAX_NODES} parts")

    def _problem(self, sentence: str) -> FilterProblem:
        return FilterProblem(self._at, sentence)


def _is_digit(char: str) -> bool:
    return len(char) == 1 and char in "0123456789"


def _is_name_char(char: str) -> bool:
    return char != "" and (char.isalnum() or char in NAME_EXTRAS)


# --- printing -----------------------------------------------------------------------------------------------


def unparse(found: Filter) -> str:
    """The expression as text; parsing it gives `found` again."""
    return f"$[?({_print(found)})]"


def _print(found: Filter) -> str:
    match found:
        case Or(parts):
            return " || ".join(_print_part(part, (Or,)) for part in parts)
        case And(parts):
            return " && ".join(_print_part(part, (Or, And)) for part in parts)
        case Not(of):
            return "!" + _print_part(of, (Or, And))
        case Truth(value):
            return "true" if value else "false"
        case Exists(path):
            return _print_operand(path)
        case Compare(op, left, right):
            return f"{_print_operand(left)} {op} {_print_operand(right)}"


def _print_part(part: Filter, wrapped: tuple[type, ...]) -> str:
    return f"({_print(part)})" if isinstance(part, wrapped) else _print(part)


def _print_operand(operand: Path | Value) -> str:
    if isinstance(operand, Path):
        return "@" + "".join(_print_step(step) for step in operand.steps)
    match operand.value:
        case str(text):
            return _quote(text)
        case True:
            return "true"
        case False:
            return "false"
        case None:
            return "null"
        case number:
            return repr(number)


def _print_step(step: Step) -> str:
    match step:
        case Each():
            return "[*]"
        case int():
            return f"[{step}]"
        case str():
            is_plain = step not in ("", "*") and all(_is_name_char(char) for char in step)
            return f".{step}" if is_plain else f"[{_quote(step)}]"


def _quote(text: str) -> str:
    quote = '"' if text.count("'") > text.count('"') else "'"
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


# --- what the published filters mean in a catalogue ---------------------------------------------------------


def conjuncts(found: Filter) -> tuple[Filter, ...]:
    """The parts that must all hold, an `&&` inside an `&&` taken apart."""
    if not isinstance(found, And):
        return (found,)
    return tuple(leaf for part in found.parts for leaf in conjuncts(part))


def rewrite(found: Filter, change: Callable[[Compare], Filter]) -> Filter:
    """The same filter with every comparison passed through `change`."""
    match found:
        case And(parts):
            return And(tuple(rewrite(part, change) for part in parts))
        case Or(parts):
            return Or(tuple(rewrite(part, change) for part in parts))
        case Not(of):
            return Not(rewrite(of, change))
        case Compare():
            return change(found)
        case _:
            return found


def paths(found: Filter) -> Iterator[Path]:
    """Every path anywhere in the filter."""
    match found:
        case And(parts) | Or(parts):
            for part in parts:
                yield from paths(part)
        case Not(of):
            yield from paths(of)
        case Exists(path):
            yield path
        case Compare(_, left, right):
            yield from (side for side in (left, right) if isinstance(side, Path))
        case _:
            return


def comparisons(found: Filter) -> Iterator[Compare]:
    """Every comparison anywhere in the filter."""
    match found:
        case And(parts) | Or(parts):
            for part in parts:
                yield from comparisons(part)
        case Not(of):
            yield from comparisons(of)
        case Compare():
            yield found
        case _:
            return
