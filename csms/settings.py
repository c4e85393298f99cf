"""From configuration to the words of those who use it: timers, rules, keys, registries.

What a configuration names is opened here, and what is wrong with it becomes a `ServeProblem` with a sentence.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from pydantic import SecretStr

from beckn_adapter import signing
from beckn_adapter.keycache import KeyCache
from beckn_adapter.outbound import Outbound, host_of
from beckn_adapter.registries import DediRegistry, LookupRegistry
from beckn_adapter.registry import FileRegistry, Registry, RegistryProblem, Source, StaticRegistry
from beckn_adapter.signing import KeyProblem
from beckn_adapter.speaking import Contact
from beckn_adapter.subscription import (
    decrypt_challenge,
    load_encryption_key,
    load_encryption_public_key,
    sign_challenge,
)
from beckn_adapter.trust import Binding, Doorkeeper, Open, SharedKey, SharedSecret, Signatures
from csms.app.charging import Sampling
from csms.app.defaultlimit import DefaultLimit
from csms.app.gatewaybooks import GatewayRules
from csms.app.otps import OtpRules
from csms.app.selling import Selling
from csms.app.statements import StatementRules
from csms.config import Config, decode_seed
from csms.domain.scanning import Allowance
from csms.domain.session import Timing
from csms.domain.tariff import Pattern
from csms.edges.maintenance import FileLimits
from csms.edges.pricefeed import PriceFeed, source_of
from csms.edges.tls import TlsProblem, check_files
from csms.edges.trust import TrustSettings
from csms.messaging.webhook import NoMessenger, WebhookMessenger
from csms.payments.orderpay import OrderpayGateway
from csms.payments.simulated import SimulatedGateway
from csms.ports import Clock, Messenger, Payments, Store
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


def price_feed(
    config: Config, *, store: Store, clock: Clock, spawn: Callable[[Any], Any], on_change: Callable[[], None]
) -> PriceFeed:
    """Prices by the hour; without a source it only looks after what operators put."""
    prices = config.energy_prices
    try:
        source = source_of(prices.source)
    except ValueError as error:
        raise ServeProblem(f"energy_prices.source: {error}") from error
    return PriceFeed(
        source,
        store=store,
        clock=clock,
        spawn=spawn,
        on_change=on_change,
        token=prices.token.get_secret_value() if prices.token is not None else None,
        every_s=prices.every_s,
        currency=config.beckn.currency,
        markup=Decimal(str(prices.markup)),
    )


def contact(config: Config) -> Contact:
    """Whom buyers are told to ask."""
    beckn = config.beckn
    named = [("PHONE", beckn.support_phone), ("EMAIL", beckn.support_email), ("WEB", "yes")]
    return Contact(
        name=beckn.provider_name,
        phone=beckn.support_phone,
        email=beckn.support_email,
        url=beckn.support_url,
        hours=beckn.support_hours,
        channels=tuple(beckn.support_channels) or tuple(word for word, given in named if given),
    )


def sampling(config: Config) -> Sampling:
    beckn = config.beckn
    return Sampling(every_ms=int(beckn.telemetry_every_s * 1000), share=beckn.telemetry_share)


def default_limit(config: Config) -> DefaultLimit:
    access = config.access
    return DefaultLimit(
        energy_wh=int(Decimal(str(access.default_kwh)) * 1000) if access.default_kwh is not None else None,
        amount_minor=int(Decimal(str(access.default_amount)) * 100) if access.default_amount is not None else None,
    )


def selling(config: Config) -> Selling:
    return Selling(
        pattern=Pattern(config.payments.pattern),
        absorb_cap_minor=int(Decimal(str(config.payments.absorb_cap)) * 100),
        quote_life_ms=int(config.limits.quote_life_s * 1000),
        currency=config.beckn.currency,
        lenient_order_ids=config.beckn.lenient_order_ids,
        claims=config.payments.claims and config.payments.provider == "simulated",
        grace_min=config.beckn.grace_min,
        collect=config.beckn.collect,
        postpaid=config.payments.postpaid,
    )


def identity_key(config: Config) -> bytes:
    """What names of buyers and one-time passwords are hashed with; whoever has the database alone learns neither."""
    return _secret_file(config.data_dir / "identity-key", secrets.token_urlsafe(32)).encode()


def otp_rules(config: Config, key: bytes) -> OtpRules:
    return OtpRules(key=key, start=config.beckn.start_otp, life_ms=config.beckn.otp_life_s * 1000)


def messenger(config: Config, clock: Clock) -> Messenger:
    """Who sends texts to drivers' telephones."""
    messages = config.messages
    if not messages.url:
        return NoMessenger()
    secret = _secret_of(messages.secret, messages.secret_file, "messages.secret_file")
    if not secret:
        raise ServeProblem("messages.url needs messages.secret, so that whoever takes the messages knows they are ours")
    return WebhookMessenger(url=messages.url, secret=secret, clock=clock, timeout_s=messages.timeout_s)


def gateway(config: Config, public_url: str) -> Payments:
    """The payment gateway that is configured."""
    payments = config.payments
    public_url = payments.public_url or public_url
    webhook_secret = _secret_of(payments.webhook_secret, payments.webhook_secret_file, "payments.webhook_secret_file")
    if payments.provider == "orderpay":
        assert payments.gateway_url is not None  # as the configuration has checked
        assert payments.key_id is not None
        return OrderpayGateway(
            base_url=payments.gateway_url,
            key_id=payments.key_id,
            key_secret=_secret_of(payments.key_secret, payments.key_secret_file, "payments.key_secret_file") or "",
            webhook_secret=webhook_secret,
            public_url=public_url,
            timeout_s=payments.gateway_timeout_s,
        )
    return SimulatedGateway(
        public_url=public_url, vpa=payments.upi_vpa, name=payments.upi_name, webhook_secret=webhook_secret
    )


def _secret_of(text: SecretStr | None, file: Path | None, key: str) -> str | None:
    """A secret that stands in the configuration, or in a file that it names. Raises ServeProblem."""
    found = text.get_secret_value() if text is not None else _read_key(file, key).strip() if file is not None else None
    if found == "":
        raise ServeProblem(f"{key}: the secret is empty")
    return found


def gateway_rules(config: Config) -> GatewayRules:
    payments = config.payments
    reconcile_ms = int(payments.reconcile_s * 1000)
    return GatewayRules(
        reconcile_ms=reconcile_ms,
        reconcile_most_ms=max(600_000, reconcile_ms),
        hold_warn_ms=int(payments.hold_warn_s * 1000),
    )


def statement_rules(config: Config) -> StatementRules:
    return StatementRules(
        provider=config.beckn.provider_name,
        currency=config.beckn.currency,
        zone=config.books.zone,
        day=config.books.statements_day,
    )


def account(config: Config) -> Mapping[str, str]:
    account = {"beneficiaryId": config.beckn.subscriber_id, **config.payments.settlement_account}
    account.setdefault("accountHolderName", config.beckn.provider_name)
    account.setdefault("vpa", config.payments.upi_vpa)
    return account


def check_names(config: Config) -> None:
    """What a configuration names and serving would trip over. Raises ServeProblem or ConfigProblem."""
    way_out = outbound(config)
    doorkeeper(config, registry(config, way_out, lambda _body, _now_s: ""))
    _check_tls(config)
    gateway(config, "")
    if config.beckn.signing_key is not None or config.beckn.signing_key_file is not None:
        beckn_seed(config)
    if config.beckn.encryption_key is not None or config.beckn.encryption_key_file is not None:
        encryption_key(config)
    if config.beckn.registry_encryption_key is not None:
        registry_encryption_key(config.beckn.registry_encryption_key)


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
        text = _read_key(beckn.signing_key_file, "beckn.signing_key_file")
    else:
        text = _secret_file(config.data_dir / "beckn-seed", base64.b64encode(bytes(SigningKey.generate())).decode())
    raw = decode_seed(text)
    seed = raw[:32]
    if len(raw) == 64 and bytes(SigningKey(seed).verify_key) != raw[32:]:
        raise ServeProblem("beckn.signing_key: its second half is not the public key of its first half")
    return seed


NEXT_ENCRYPTION_KEY = "beckn-encryption-next"  # in data_dir, while a new entry is being subscribed


def encryption_key(config: Config) -> bytes:
    """Our X25519 private key, 32 bytes; made in data_dir when none is configured."""
    beckn = config.beckn
    if beckn.encryption_key is not None:
        text = beckn.encryption_key.get_secret_value()
    elif beckn.encryption_key_file is not None:
        text = _read_key(beckn.encryption_key_file, "beckn.encryption_key_file")
    else:
        text = _secret_file(config.data_dir / "beckn-encryption", base64.b64encode(secrets.token_bytes(32)).decode())
    try:
        return load_encryption_key(text)
    except KeyProblem as problem:
        raise ServeProblem(f"beckn.encryption_key: {problem}") from problem


def registry_encryption_key(text: str) -> bytes:
    """The registry's X25519 public key."""
    try:
        return load_encryption_public_key(text)
    except KeyProblem as problem:
        raise ServeProblem(f"beckn.registry_encryption_key: {problem}") from problem


def challenge_answers(config: Config) -> Callable[[], Sequence[Callable[[str], str]]]:
    """The ways a registry's challenge may be answered now, asked anew for each: a key may be on its way."""
    beckn = config.beckn
    if beckn.on_subscribe_mode == "off":
        return lambda: ()
    if beckn.on_subscribe_mode == "sign":
        seed = beckn_seed(config)
        return lambda: (partial(sign_challenge, seed=seed),)
    if beckn.registry_encryption_key is None:
        return lambda: ()
    peer = registry_encryption_key(beckn.registry_encryption_key)
    own, coming = encryption_key(config), config.data_dir / NEXT_ENCRYPTION_KEY

    def ways() -> Sequence[Callable[[str], str]]:
        keys = [own]
        with suppress(OSError, KeyProblem, UnicodeDecodeError):
            keys.append(load_encryption_key(coming.read_text(encoding="utf-8")))
        return [partial(decrypt_challenge, private=key, registry_public=peer) for key in keys]

    return ways


def beckn_signer(config: Config) -> Callable[[bytes, int], str]:
    """Makes the signature header of a request of ours: `(body, now_s)`."""
    beckn, seed = config.beckn, beckn_seed(config)

    def sign(body: bytes, now_s: int) -> str:
        created_s, expires_s = signing.validity(now_s)
        return signing.sign(
            body, beckn.subscriber_id, beckn.unique_key_id, seed, created_s=created_s, expires_s=expires_s
        )

    return sign


def _read_key(path: Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ServeProblem(f"{name}: cannot read {error.filename}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ServeProblem(f"{name}: {path} is not base64") from error


def _secret_file(path: Path, fresh: str) -> str:
    """The secret in a 0600 file, made on first use."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w") as file:
        file.write(fresh + "\n")
    return fresh


def allowance(config: Config) -> Allowance:
    """How much a buyer app may look without buying."""
    beckn = config.beckn
    return Allowance(
        area=beckn.scan_area,
        total=beckn.scan_total,
        per_select=beckn.scan_per_select,
        half_life_ms=int(beckn.scan_half_life_s * 1000),
    )


def outbound(config: Config) -> Outbound:
    """The way out: hosts that this configuration names may be private, others only where a registry lists them."""
    beckn = config.beckn
    named = [beckn.caller_url, beckn.cds_url, beckn.registry.partition(":")[2]]
    return Outbound(
        timeout_s=beckn.callback_timeout_s,
        hosts=[host.lower() for host in beckn.callback_hosts],
        own=map(host_of, named),
        private=beckn.callback_hosts_private,
        listed_private=beckn.listed_hosts_private,
    )


def registry(config: Config, way_out: Outbound, sign: Callable[[bytes, int], str]) -> Registry:
    """Where buyer apps' keys come from. What is on the network is not asked before the first message comes."""
    beckn = config.beckn
    if not beckn.registry:
        return StaticRegistry()
    kind, _, where = beckn.registry.partition(":")
    if kind == "static":
        try:
            return FileRegistry(Path(where))
        except RegistryProblem as problem:
            raise ServeProblem(f"beckn.registry: {problem}") from problem
    if kind not in {"lookup", "dedi"}:
        raise ServeProblem(f"beckn.registry: {kind} is no kind of registry; use static:FILE, lookup:URL or dedi:URL")
    if host_of(where) is None:
        raise ServeProblem(f"beckn.registry: {where!r} is not an http(s) address")
    source: Source
    if kind == "lookup":
        source = LookupRegistry(
            where,
            outbound=way_out,
            key_field=beckn.lookup_key_field,
            authorize=sign,
            timeout_s=beckn.registry_timeout_s,
        )
    else:
        source = DediRegistry(
            where,
            outbound=way_out,
            registry_name=beckn.registry_name,
            allowed_parents=frozenset(beckn.allowed_parent_namespaces),
            timeout_s=beckn.registry_timeout_s,
        )
    return KeyCache(source, positive_s=beckn.key_cache_s, stale_s=beckn.registry_stale_s)


def doorkeeper(config: Config, keys: Registry) -> Doorkeeper:
    """Who may knock, by topology. Raises ServeProblem when nothing would prove a sender."""
    beckn = config.beckn
    signatures = Signatures(keys, ahead_s=beckn.clock_ahead_s, behind_s=beckn.clock_behind_s)
    if beckn.mode == "direct":
        return signatures
    if not beckn.caller_url:
        raise ServeProblem(f"beckn.mode is {beckn.mode}: set beckn.caller_url to where the adapter takes our answers")
    secret = beckn.webhook_secret.get_secret_value() if beckn.webhook_secret is not None else None
    if beckn.mode == "protocol_server":
        if secret is None and not beckn.webhook_open:
            raise ServeProblem(
                "beckn.mode is protocol_server: set beckn.webhook_secret to the HMAC key both sides share"
            )
        return SharedKey(secret) if secret is not None else Open()
    if beckn.reverify and not beckn.registry:
        raise ServeProblem("beckn.reverify needs beckn.registry: signatures are checked with its keys")
    reverified = signatures if (beckn.registry if beckn.reverify is None else beckn.reverify) else None
    if secret is not None:
        return SharedSecret(beckn.webhook_header, secret, reverified)
    if reverified is None and not beckn.webhook_open:
        raise ServeProblem(
            "beckn.mode is onix and nothing proves who sends: set beckn.webhook_secret, or beckn.registry so that "
            "forwarded signatures are verified again, or beckn.webhook_open where only the adapter reaches the port"
        )
    return reverified or Open()


def binding(config: Config, way_out: Outbound) -> Binding:
    """What a message may say of itself."""
    catalog = host_of(config.beckn.cds_url)
    return Binding(
        outbound=way_out,
        catalog_hosts=frozenset([catalog] if catalog is not None else []),
        gateway_required=config.beckn.gateway_required,
        we_call=config.beckn.mode == "direct",
    )
