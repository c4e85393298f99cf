"""An operation of the API, declared once: what it takes, what it answers, and the function that does it.

    route = Routes("Chargers")

    @route("GET", "/api/v1/chargers/{id}", answer=Charger, errors=[404], summary="One charger")
    async def show(call: Call[None, None]) -> Charger: ...

The same declaration parses requests (handling.py) and is printed as OpenAPI (openapi.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from csms.api.auth import Principal, Scope
from csms.api.system import System
from csms.app import queries
from csms.ports import Row

Q = TypeVar("Q")
B = TypeVar("B")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

JSON: Final = "application/json"
CSV: Final = "text/csv"


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One request, parsed. `idem` names the request when the client wants it to count once."""

    system: System
    request: web.Request
    path: Mapping[str, Any]
    query: Q
    body: B
    who: Principal
    idem: str | None

    def now_ms(self) -> int:
        """UTC milliseconds."""
        return self.system.clock.now_ms()

    async def charger(self) -> Row:
        """The charger that the path names (`{id}`). Refuses UNKNOWN_STATION."""
        return await self.system.store.read(lambda tx: queries.charger(tx, self.path["id"]))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose status differs from the declared one."""

    body: BaseModel
    status: int


Outcome = BaseModel | Answer | web.StreamResponse | None
Handler = Callable[[Call[Any, Any]], Awaitable[Outcome]]
AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Awaitable[Outcome]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A declared operation."""

    method: Method
    path: str
    tag: str
    summary: str
    handler: Handler
    description: str = ""
    path_types: Mapping[str, Any] = field(default_factory=dict)  # default: text
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200
    also: tuple[int, ...] = ()  # other statuses with the same answer
    errors: tuple[int, ...] = ()
    scope: Scope = "read"
    secrets: tuple[str, ...] = ()  # members of the answer that are shown once and never kept
    media: tuple[str, ...] = (JSON,)
    takes: str | None = None  # the media type of a body that the operation reads by itself, as it comes

    @property
    def counts_once(self) -> bool:
        """Whether the operation takes an Idempotency-Key."""
        return self.method != "GET" and self.takes is None


class Routes:
    """Collects the operations of one resource."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.operations: list[Operation] = []

    def __call__(
        self,
        method: Method,
        path: str,
        *,
        summary: str,
        description: str = "",
        path_types: Mapping[str, Any] | None = None,
        query: type[BaseModel] | None = None,
        body: type[BaseModel] | None = None,
        answer: type[BaseModel] | None = None,
        status: int | None = None,
        also: Sequence[int] = (),
        errors: Sequence[int] = (),
        scope: Scope | None = None,
        secrets: Sequence[str] = (),
        media: Sequence[str] = (JSON,),
        takes: str | None = None,
    ) -> Callable[[AnyHandler], AnyHandler]:
        """Declare the decorated function as the operation's."""

        def declare(handler: AnyHandler) -> AnyHandler:
            self.operations.append(
                Operation(
                    method=method,
                    path=path,
                    tag=self.tag,
                    summary=summary,
                    handler=handler,
                    description=description,
                    path_types=path_types or {},
                    query=query,
                    body=body,
                    answer=answer,
                    status=status if status is not None else (204 if answer is None and media == (JSON,) else 200),
                    also=tuple(also),
                    errors=tuple(errors),
                    scope=scope if scope is not None else ("read" if method == "GET" else "write"),
                    secrets=tuple(secrets),
                    media=tuple(media),
                    takes=takes,
                )
            )
            return handler

        return declare
