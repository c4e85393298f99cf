"""Cursor pagination: the answer's shape, its parameters, and cursors nobody should read into."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from csms.api.problems import BAD_CURSOR, Problem

Item = TypeVar("Item")
DEFAULT_LIMIT: Final = 100
LARGEST_LIMIT: Final = 1000
LARGEST_INT: Final = 2**63 - 1


class Query(BaseModel):
    """Parameters of a request. A parameter nobody knows is a mistake, not a wish to see everything."""

    model_config = ConfigDict(extra="forbid")


class PageQuery(Query):
    """Parameters every list takes."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT, description="rows per page")] = DEFAULT_LIMIT
    cursor: Annotated[
        str | None,
        Field(
            max_length=1000,
            description="`next_cursor` of the page before",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]*$"},
        ),
    ] = None


class Page(BaseModel, Generic[Item]):
    """One page of a list. `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


def encode(key: Any) -> str | None:
    """A list key as a cursor."""
    if key is None:
        return None
    text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> Any:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        return None


def text_key(cursor: str | None) -> str | None:
    """The key of a list ordered by a text."""
    if cursor is None:
        return None
    if isinstance(key := _decode(cursor), str):
        return key
    raise _bad()


def number_key(cursor: str | None) -> int | None:
    """The key of a list ordered by a number."""
    if cursor is None:
        return None
    if _is_number(key := _decode(cursor)):
        return int(key)
    raise _bad()


def numbers_key(cursor: str | None, count: int) -> tuple[int, ...] | None:
    """The key of a list ordered by several numbers."""
    if cursor is None:
        return None
    key = _decode(cursor)
    if isinstance(key, list) and len(key) == count and all(_is_number(part) for part in key):
        return tuple(key)
    raise _bad()


def _is_number(key: Any) -> bool:
    return isinstance(key, int) and not isinstance(key, bool) and -LARGEST_INT <= key <= LARGEST_INT


def _bad() -> Problem:
    return Problem(BAD_CURSOR, "This cursor does not belong to this list; begin again without one.")
