"""What came of sending a charger exactly what an operator wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

RawStatus = Literal["answered", "call_error", "timeout", "offline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAnswer:
    """The charger's own words, or why there are none.

    `response` is set when it answered with a result, `error` when it answered with a CALLERROR or when a sentence
    explains the silence; `message_id` is None when nothing was sent.
    """

    status: RawStatus
    message_id: str | None = None
    response: Any = None
    error: Any = None


class SchemaProblems(Exception):
    """A payload breaks the schema of its OCPP version; nothing was sent.

    `problems` are pairs of a JSON pointer into the payload and a sentence.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {sentence}" for path, sentence in problems))
        self.problems = list(problems)
