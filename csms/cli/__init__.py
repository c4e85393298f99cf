"""The command line: server commands here and in `server.py`, operator commands over the REST API in `operator.py`."""

from __future__ import annotations

from csms.cli.root import app

__all__ = ["app"]
