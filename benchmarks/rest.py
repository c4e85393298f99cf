"""The little of the operator REST surface that a benchmark needs (SURFACES 4)."""

from __future__ import annotations

import http.client
import json
from typing import Any

from . import BenchError


class Rest:
    """One kept-alive connection to the operator API."""

    def __init__(self, address: tuple[str, int], key: str) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=30)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON answer; anything but 2xx is a BenchError with the server's words."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, path, content, self._headers)
        response = self._connection.getresponse()
        text = response.read().decode()
        if not 200 <= response.status < 300:
            raise BenchError(f"{method} {path}: HTTP {response.status} {text[:500]}")
        return json.loads(text) if text else None

    def put_tokens(self, count: int, prefix: str = "BENCH") -> None:
        """One accepted token per charger, so that no session meets another's."""
        for n in range(count):
            self.ask(
                "PUT",
                f"/api/v1/tokens/{prefix}{n:05d}",
                {"type": "ISO14443", "status": "Accepted", "kind": "regular"},
            )

    def close(self) -> None:
        self._connection.close()
