"""Logs, metrics and health in one place. Secrets are masked here, once, for every line.

Logs are facts: an event name and key-values, with station, session and order bound by whoever knows them. A charger's
ordinary message writes no line (7 us is a whole heartbeat, SPEED 23); it moves a counter.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECRET_KEYS = frozenset(
    {
        "password",
        "authorization",
        "authorizationkey",
        "basicauthpassword",
        "signing_key",
        "api_key",
        "bootstrap_key",
        "otp",
    }
)


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if key.lower() in _SECRET_KEYS:
            event[key] = "***"
    return event


class _Patient:
    """A stream that lines may be lost on. A full disk or a closed pipe behind standard error is no reason for whoever
    has something to say to fail: the store's writer says that the disk is full, and must live to see it emptied."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(level: str, json: bool | None) -> None:
    """Set structlog up on standard error: JSON for machines, colours for a terminal."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback  # locals in a traceback would print keys
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _mask,
            structlog.processors.format_exc_info if as_json else _pass,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, force=True)
    # The library logs every handshake that a port scanner breaks off, with a traceback.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.server").addFilter(_own_bugs_only)


def _own_bugs_only(record: logging.LogRecord) -> bool:
    """What a scanner sends that is no HTTP is one short line, and not the library's traceback with its bytes."""
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, HttpProcessingError | RequestPayloadError):
        return True
    structlog.get_logger().info("http.malformed", kind=type(error).__name__)
    return False


def _pass(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return event


class Metrics:
    """What an operator asks: is a charger silent, is money stuck, is a callback failing, how long is the queue.

    Never labelled by charger: a fleet would drown the scraper.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.links = Gauge("csms_links", "Chargers connected to this node", registry=registry)
        self.frames = Counter("csms_frames", "OCPP calls received", ["action"], registry=registry)
        self.searches = Counter(
            "csms_beckn_searches", "Searches of buyer apps, by how fresh a state they were shown", ["freshness"],
            registry=registry,
        )  # fmt: skip
        self.malformed = Counter("csms_frames_malformed", "Frames that were not OCPP", ["reason"], registry=registry)
        self.quarantined = Counter(
            "csms_frames_quarantined", "Money frames repaired or kept aside", ["outcome"], registry=registry
        )
        self.oddities = Counter(
            "csms_oddities",
            "What chargers got wrong: mended, expected by their quirks, kept aside, ignored, or merely noted",
            ["kind", "rule", "model"],
            registry=registry,
        )
        self.refused = Counter("csms_handshakes_refused", "Connection attempts refused", ["reason"], registry=registry)
        self.calls = Counter("csms_calls", "OCPP calls we made, by what came of them", ["outcome"], registry=registry)
        self.writer_waiting = Gauge("csms_store_waiting", "Writes handed in and not yet committed", registry=registry)
        self.commits = Gauge("csms_store_commits", "Transactions committed", registry=registry)
        self.committed_items = Gauge("csms_store_items", "Units and use cases committed", registry=registry)
        self.commit_failures = Gauge("csms_store_failures", "Commits that failed", registry=registry)
        self.open_sessions = Gauge("csms_sessions_open", "Sessions in which energy may still flow", registry=registry)
        self.open_cases = Gauge("csms_cases_open", "Cases waiting for a person", registry=registry)
        self.beckn_requests = Counter("csms_beckn_requests", "Beckn requests", ["action", "outcome"], registry=registry)
        self.callbacks = Counter(
            "csms_beckn_callbacks", "Beckn callbacks sent", ["action", "outcome"], registry=registry
        )
        self.callbacks_waiting = Gauge("csms_beckn_callbacks_waiting", "Callbacks not yet delivered", registry=registry)
        self.money_waiting = Gauge(
            "csms_payments_waiting", "Captures, releases and refunds not yet done", registry=registry
        )
        self.gateway = Counter(
            "csms_gateway",
            "Dealings with the payment gateway: webhooks, questions, movements, and what came of each",
            ["what", "outcome"],
            registry=registry,
        )
        self.ack_seconds = Histogram(
            "csms_beckn_ack_seconds",
            "Time from a Beckn request to its ACK",
            buckets=(0.005, 0.02, 0.05, 0.2, 1, 5),
            registry=registry,
        )

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
