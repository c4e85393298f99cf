"""The TLS of the charger listeners: which certificates are shown, which are believed, what is spoken.

Files are looked at when somebody knocks, at most once a second, and read again when they have changed: a renewed
certificate counts from the next connection, without a restart. A change that cannot be used leaves what was in force.

    listener ─▶ front context ─▶ each handshake is handed to the newest context built from the files
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from csms.pki.reading import BadCertificate, chain_of, named, weakness

log = structlog.get_logger()

# 2.0.1 A00.FR.318: the two ECDHE and the two plain RSA suites with AES-GCM. Some builds of OpenSSL do not offer the
# latter of themselves. TLS 1.3 brings its own.
_CIPHERS: Final = "ECDHE+AESGCM:AES128-GCM-SHA256:AES256-GCM-SHA384"
# Security level 0 is what OpenSSL 3 asks for before it speaks TLS 1.0; nothing anonymous or in the clear even so.
_RELIC_CIPHERS: Final = "ALL:!aNULL:!eNULL:!EXP:@SECLEVEL=0"
_LOOK_EVERY_S: Final = 1.0


class TlsProblem(Exception):
    """A file cannot be used; the text is one sentence that says which and why."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a listener is made of. `pairs` are certificate and key; `trusted` roots may be absent yet."""

    pairs: tuple[tuple[Path, Path], ...]
    trusted: tuple[Path, ...] = ()

    def stamp(self) -> tuple[tuple[int, int] | None, ...]:
        """Changes when a file does."""
        return tuple(_stamp(path) for pair in (*self.pairs, self.trusted) for path in pair)


def check_files(pairs: tuple[tuple[Path, Path], ...], client_ca: Path | None, now_ms: int) -> None:
    """Raises TlsProblem for what cannot be read, does not fit together, is too weak or out of date."""
    for certificate, key in pairs:
        _check_pair(certificate, key, now_ms)
    if client_ca is not None:
        _chain(client_ca)


class TlsDoor:
    """The TLS of one listener: `context` is for the listener, `on_failed` hears why a handshake came to nothing."""

    def __init__(
        self,
        files: TlsFiles,
        *,
        is_relic: bool,
        now_ms: Callable[[], int],
        steady_s: Callable[[], float],
        on_failed: Callable[[str], None],
    ) -> None:
        self._files = files
        self._is_relic = is_relic
        self._now_ms = now_ms
        self._steady_s = steady_s
        self._on_failed = on_failed
        self._looked_s = steady_s()
        self._stamp = files.stamp()
        self.expires_ms = 0  # the first of the certificates shown to end
        self._newest = self._build()
        self.context = self._build()
        self.context.sni_callback = self._hand_over  # runs for every handshake, with or without a name

    def _hand_over(self, handshake: Any, name: str | None, front: ssl.SSLContext) -> None:  # noqa: ARG002 - its shape
        if self._steady_s() - self._looked_s >= _LOOK_EVERY_S:
            self._look()
        handshake.context = self._newest

    def _look(self) -> None:
        self._looked_s = self._steady_s()
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._newest = self._build()
        except TlsProblem as problem:
            log.warning("tls.not_renewed", problem=str(problem))
        else:
            log.info("tls.renewed", files=[str(certificate) for certificate, _ in self._files.pairs])

    def _build(self) -> ssl.SSLContext:
        check_files(self._files.pairs, None, self._now_ms())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        lowest = ssl.TLSVersion.MINIMUM_SUPPORTED if self._is_relic else ssl.TLSVersion.TLSv1_2
        context.minimum_version = lowest
        context.set_ciphers(_RELIC_CIPHERS if self._is_relic else _CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 1  # one session is resumed at a time; a second ticket costs a kilobyte of a data plan
        context.verify_mode = ssl.CERT_OPTIONAL  # security profiles 2 and 3 share the port
        try:
            for certificate, key in self._files.pairs:
                context.load_cert_chain(certificate, key)
            for path in self._files.trusted:
                if path.exists():
                    context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            raise TlsProblem(f"the TLS files cannot be used: {error}") from error
        self.expires_ms = min(named(_chain(certificate)[0]).expires_ms for certificate, _ in self._files.pairs)
        context.sslobject_class = _watched(self._on_failed)
        return context


def _watched(on_failed: Callable[[str], None]) -> type[ssl.SSLObject]:
    """An SSLObject that says why a handshake failed; the event loops keep that to themselves."""

    class Watched(ssl.SSLObject):
        def do_handshake(self) -> None:
            try:
                super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                on_failed(_sentence(error))
                raise

    return Watched


def _sentence(error: ssl.SSLError) -> str:
    match error.reason:
        case "CERTIFICATE_VERIFY_FAILED":
            return f"The charger's certificate is not believed: {getattr(error, 'verify_message', None) or error}."
        case "UNSUPPORTED_PROTOCOL" | "VERSION_TOO_LOW":
            return "The charger's TLS is too old for this listener."
        case "NO_SHARED_CIPHER":
            return "The charger offers no cipher suite that is good enough for this listener."
        case reason:
            return f"The TLS handshake failed: {(reason or str(error)).replace('_', ' ').lower()}."


def _check_pair(certificate: Path, key: Path, now_ms: int) -> None:
    leaf = _chain(certificate)[0]
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise TlsProblem(f"{key} cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise TlsProblem(f"{key} is encrypted; give it without a passphrase, readable by the server alone") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsProblem(f"{key} holds no private key in PEM") from error
    if leaf.public_key() != private.public_key():
        raise TlsProblem(f"{key} is not the key of {certificate}")
    if (weak := weakness(leaf.public_key())) is not None:
        raise TlsProblem(f"{certificate}: {weak}")
    if (problem := named(leaf).problem_at(now_ms)) is not None:
        raise TlsProblem(f"{certificate} {problem}")


def _chain(path: Path) -> list[Any]:
    try:
        return list(chain_of(path.read_text(encoding="ascii")))
    except OSError as error:
        raise TlsProblem(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TlsProblem(f"{path} is not PEM (byte {error.start})") from error
    except BadCertificate as problem:
        raise TlsProblem(f"{path}: {problem}") from problem


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
