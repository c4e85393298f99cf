"""From configuration to the words of those who use it: timers, rules, keys, registries.

What a configuration names is opened here, and what is wrong with it becomes a `ServeProblem` with a sentence.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

from nacl.signing import SigningKey

from beckn_adapter.registry import Registry, RegistryProblem, StaticRegistry, Subscriber
from csms.app.ordering import Selling
from csms.config import Config, decode_seed
from csms.domain.session import Timing
from csms.domain.tariff import Pattern
from csms.edges.maintenance import FileLimits
from csms.edges.tls import TlsProblem, check_files
from csms.edges.trust import TrustSettings
from csms.payments.simulated import SimulatedGateway
from csms.ports import Payments
from csms.realworld import RealClock
from firmware_profiles.load import Profiles
from firmware_profiles.load import load as load_profiles
from firmware_profiles.schema import ProfileProblem


class ServeProblem(Exception):
    """The server cannot start; the text says why and what to do."""


def profiles() -> Profiles:
    try:
        return load_profiles()
    except ProfileProblem as problem:
        raise ServeProblem(f"a firmware profile cannot be used: {problem}") from problem


def timing(config: Config) -> Timing:
    limits = config.limits
    return Timing(
        start_s=int(limits.start_s),
        notify_s=limits.notify_s,
        drain_s=limits.drain_s,
        drain_max_s=limits.drain_max_s,
        bootstop_s=limits.bootstop_s,
        resume_s=limits.resume_s,
        stop_s=limits.stop_s,
        stop_tries=limits.stop_tries,
        data_online_s=limits.data_online_s,
        data_offline_s=limits.data_offline_s,
        abandon_min_s=limits.abandon_min_s,
        abandon_max_s=limits.abandon_max_s,
        final_s=limits.final_s,
    )


def selling(config: Config) -> Selling:
    return Selling(
        pattern=Pattern(config.payments.pattern),
        absorb_cap_minor=int(Decimal(str(config.payments.absorb_cap)) * 100),
        quote_life_ms=int(config.limits.quote_life_s * 1000),
        currency=config.beckn.currency,
        lenient_order_ids=config.beckn.lenient_order_ids,
        claims=config.payments.claims and config.payments.provider == "simulated",
    )


def gateway(config: Config, public_url: str) -> Payments:
    """The payment gateway that is configured."""
    payments = config.payments
    return SimulatedGateway(public_url=payments.public_url or public_url, vpa=payments.upi_vpa, name=payments.upi_name)


def account(config: Config) -> Mapping[str, str]:
    account = {"beneficiaryId": config.beckn.subscriber_id, **config.payments.settlement_account}
    account.setdefault("accountHolderName", config.beckn.provider_name)
    account.setdefault("vpa", config.payments.upi_vpa)
    return account


def check_names(config: Config) -> None:
    """What a configuration names and serving would trip over. Raises ServeProblem or ConfigProblem."""
    registry(config)
    _check_tls(config)
    if config.beckn.signing_key is not None or config.beckn.signing_key_file is not None:
        beckn_seed(config)


def trust_settings(config: Config) -> TrustSettings:
    tls = config.tls
    named = ((tls.certificate, tls.key), (tls.certificate_rsa, tls.key_rsa))
    return TrustSettings(
        folder=config.data_dir,
        pairs=tuple((certificate, key) for certificate, key in named if certificate is not None and key is not None),
        client_ca=tls.client_ca,
        organization=tls.organization,
        authority=tls.ca,
        authority_name=tls.organization or config.beckn.provider_name,
        authority_url=tls.ca_url,
        authority_timeout_s=tls.ca_timeout_s,
        certificate_days=tls.certificate_days,
        renew_before_days=tls.renew_before_days,
        ocsp_url=tls.ocsp_url,
        ocsp_private_hosts=frozenset(tls.ocsp_private_hosts),
        ocsp_timeout_s=tls.ocsp_timeout_s,
        contract_ca=tls.contract_ca,
        ev_certificate_url=tls.ev_certificate_url,
    )


def _check_tls(config: Config) -> None:
    settings = trust_settings(config)
    try:
        check_files(settings.pairs, settings.client_ca, RealClock().now_ms())
    except TlsProblem as problem:
        raise ServeProblem(f"tls: {problem}") from problem


def bootstrap_key(config: Config) -> str:
    if config.api.bootstrap_key is not None:
        return config.api.bootstrap_key.get_secret_value()
    return _secret_file(config.data_dir / "bootstrap-key", secrets.token_urlsafe(32))


def files_key(config: Config) -> bytes:
    """What the tickets of firmware downloads are made with."""
    return _secret_file(config.data_dir / "files-key", secrets.token_urlsafe(32)).encode()


def file_limits(config: Config) -> FileLimits:
    files = config.files
    return FileLimits(
        upload_bytes=files.upload_mib * 1024 * 1024,
        firmware_bytes=files.firmware_mib * 1024 * 1024,
        upload_life_s=files.upload_life_s,
        download_life_s=files.download_life_s,
        logs_days=files.logs_days,
    )


def beckn_seed(config: Config) -> bytes:
    beckn = config.beckn
    if beckn.signing_key is not None:
        text = beckn.signing_key.get_secret_value()
    elif beckn.signing_key_file is not None:
        try:
            text = beckn.signing_key_file.read_text(encoding="utf-8")
        except OSError as error:
            raise ServeProblem(f"beckn.signing_key_file: cannot read {error.filename}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ServeProblem(f"beckn.signing_key_file: {beckn.signing_key_file} is not base64") from error
    else:
        text = _secret_file(config.data_dir / "beckn-seed", base64.b64encode(bytes(SigningKey.generate())).decode())
    raw = decode_seed(text)
    seed = raw[:32]
    if len(raw) == 64 and bytes(SigningKey(seed).verify_key) != raw[32:]:
        raise ServeProblem("beckn.signing_key: its second half is not the public key of its first half")
    return seed


def _secret_file(path: Path, fresh: str) -> str:
    """The secret in a 0600 file, made on first use."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(fresh + "\n")
    return fresh


class FileRegistry:
    """A static registry whose file is read again when it has changed, so that partners come without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._listed = StaticRegistry.open(path)

    async def lookup(self, subscriber_id: str, key_id: str, now_ms: int) -> Subscriber | None:
        """See `registry.Registry`. A file that cannot be read leaves the keys known so far in force."""
        with suppress(OSError, RegistryProblem):
            self._listed.reload_if_changed(self._path.stat().st_mtime_ns)
        return await self._listed.lookup(subscriber_id, key_id, now_ms)


def registry(config: Config) -> Registry:
    where = config.beckn.registry
    if not where:
        return StaticRegistry()
    kind, _, rest = where.partition(":")
    if kind != "static":
        raise ServeProblem(f"beckn.registry: {kind} is not supported yet; use static:FILE")
    try:
        return FileRegistry(Path(rest))
    except RegistryProblem as problem:
        raise ServeProblem(f"beckn.registry: {problem}") from problem
