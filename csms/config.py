"""Every knob, frozen, the unit in its name (SURFACES 3).

Order of strength: environment (`CSMS_SECTION__KEY`, or `…_FILE` naming a file with the value) > the TOML file >
the default. An unknown key is an error that names file and line, because a misspelt limit is worse than none.
"""

from __future__ import annotations

import base64
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

ENV_PREFIX = "CSMS_"


class ConfigProblem(Exception):
    """The configuration cannot be used; the text says where and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Port = Annotated[int, Field(ge=0, le=65535)]


def _not_built(instead: str) -> BeforeValidator:
    """A promised key that this version does nothing with: refused when set, because silence would be believed."""

    def refuse(value: Any) -> Any:
        if value:
            raise ValueError(f"not in this version; {instead}")
        return value

    return BeforeValidator(refuse)


class OcppConfig(_Section):
    """The charger listener."""

    host: str = "127.0.0.1"
    port: Port = 9000
    accept_unknown: Literal["never", "window", "always"] = "never"
    window_s: int = Field(900, ge=0, description="how long after start unknown chargers are accepted, for 'window'")
    default_version: Literal["ocpp1.6", "ocpp2.0.1"] = "ocpp1.6"
    heartbeat_interval_s: int = Field(300, ge=10)
    pending_interval_s: int = Field(60, ge=5)
    ping_interval_s: float = Field(45, ge=0, description="0 = never ping")
    silence_s: float = Field(100, gt=0, description="no frame of any kind for so long: the link is dead")
    call_timeout_s: float = Field(45, gt=0)
    max_frame_kib: int = Field(4096, ge=64, le=8192)
    handshakes_per_s: float = Field(200, gt=0)
    log_heartbeats: bool = Field(True, description="keep heartbeats in the frame log")
    settle_s: float = Field(
        10, ge=0, description="a charger that connects is left alone so long before we ask anything of our own accord"
    )
    errands_at_once: int = Field(50, ge=1, description="chargers that are asked of our own accord at the same time")
    mute_s: float = Field(
        900, ge=0, description="connected and silent but for pings for so long: asked once for a sign; 0 = never asked"
    )
    strict: bool = Field(
        False, description="mend nothing that a quirk of the charger does not announce: for testing chargers"
    )
    cost_every_s: float = Field(
        0,
        ge=0,
        description="chargers that show costs hear the cost so far this often; 0 = only the total at the end",
    )
    node_secret_file: Path | None = None


class ProvisioningConfig(_Section):
    """What chargers say of themselves, and what is wanted of them."""

    inventory: Literal["first_contact", "never"] = Field(
        "first_contact", description="read everything a charger holds once, and again after other firmware"
    )
    template: Literal["", "builtin-ac", "builtin-dc", "builtin-low-data"] = Field(
        "", description="the built-in values wanted of every charger that has no choice of its own; empty = none"
    )
    apply: Literal["off", "auto"] = Field(
        "off", description="auto: write what differs without being asked; off: show it, write on request"
    )
    check_every_h: float = Field(24, gt=0, description="how often a charger is compared with what is wanted of it")
    report_s: float = Field(60, gt=0, description="no further part of a report for so long: it is asked for again")


class AccessConfig(_Section):
    """Who may charge."""

    master_pass_group: str | None = Field(
        None, min_length=1, max_length=36, description="its tokens end anybody's session and begin none"
    )
    one_session_at_a_time: bool = Field(
        False, description="a token whose session runs begins no other, wherever; a token may have its own rule"
    )
    block_on_due: Literal["off", "tokens", "all"] = Field(
        "all",
        description="who owes for energy beyond an order buys nothing until it is paid, nor charges by a token; "
        "tokens: may buy on",
    )
    default_kwh: float | None = Field(
        None, gt=0, le=1000, description="a card or car without a limit of its own is stopped there; fleets' are not"
    )
    default_amount: float | None = Field(
        None, gt=0, le=100_000, description="the same in money, by the price at the socket; of two the smaller counts"
    )
    local_lists: Literal["off", "fleet", "all"] = Field(
        "off", description="the tokens that chargers keep for when they are offline; a charger may have its own rule"
    )
    local_list_delay_s: float = Field(10, ge=0, description="changes of tokens are collected so long before it is told")


class TlsConfig(_Section):
    """The charger listener over TLS (security profiles 2 and 3). Off until a certificate is configured."""

    host: str | None = Field(None, description="default: as `ocpp.host`")
    port: Port = Field(9443, description="opened when a certificate is configured; 0 lets the system choose")
    certificate: Path | None = Field(
        None, description="PEM, our own certificate first, then its issuers; read again when the file changes"
    )
    key: Path | None = Field(None, description="PEM, of `certificate`, without a passphrase")
    certificate_rsa: Path | None = Field(
        None, description="a second certificate, for chargers that only know the other kind of key (RSA beside ECDSA)"
    )
    key_rsa: Path | None = Field(None, description="of `certificate_rsa`")
    client_ca: Path | None = Field(
        None, description="PEM of the roots whose certificates chargers may bring, beside the built-in authority's"
    )
    organization: str | None = Field(
        None, description="the O that a charger's certificate must have (security profile 3); needed with `client_ca`"
    )
    public_url: str | None = Field(
        None, description="what chargers are told to call over TLS; default wss://HOST:PORT/ocpp"
    )
    relic_port: Port | None = Field(
        None, description="a TLS listener that takes TLS 1.0 and 1.1, too, for chargers with the quirk `tls_relic`"
    )
    ca: Literal["off", "builtin", "external"] = Field(
        "builtin", description="who signs the certificates of chargers: nobody, a root in data_dir, or `ca_url`"
    )
    ca_url: str | None = Field(None, description="takes a PEM signing request by POST and answers a PEM chain")
    ca_timeout_s: float = Field(30, gt=0, le=300, description="how long `ca_url` has to answer")
    certificate_days: int = Field(365, ge=1, le=3650, description="how long what the built-in authority signs holds")
    renew_before_days: int = Field(30, ge=0, description="a charger is asked for a new request so long before the end")
    ocsp_url: str | None = Field(None, description="ask this OCSP responder, whatever a charger or certificate names")
    ocsp_private_hosts: tuple[str, ...] = Field(
        (), description="responders in private networks that chargers may name; public ones they always may"
    )
    ocsp_timeout_s: float = Field(5, gt=0, le=30, description="how long an OCSP responder has to answer")
    contract_ca: Path | None = Field(None, description="PEM of the roots of contract certificates (ISO 15118)")
    ev_certificate_url: str | None = Field(
        None, description="takes requests of cars for contract certificates (ISO 15118) as JSON by POST"
    )

    @model_validator(mode="after")
    def _whole(self) -> TlsConfig:
        for certificate, key in (("certificate", "key"), ("certificate_rsa", "key_rsa")):
            if (getattr(self, certificate) is None) != (getattr(self, key) is None):
                raise ValueError(f"{certificate} and {key} go together")
        if self.certificate is None and self.certificate_rsa is not None:
            raise ValueError("certificate_rsa is a second certificate; name the first as certificate")
        if self.certificate is None and self.relic_port is not None:
            raise ValueError("relic_port needs a certificate")
        if self.ca == "external" and self.ca_url is None:
            raise ValueError("ca = external needs ca_url")
        if self.client_ca is not None and self.organization is None:
            raise ValueError("client_ca needs organization: others may hold certificates of the same root")
        if self.renew_before_days >= self.certificate_days:
            raise ValueError("renew_before_days must be less than certificate_days")
        return self


class ApiConfig(_Section):
    """The operator listener."""

    host: str = "127.0.0.1"
    port: Port = 8080
    bootstrap_key: SecretStr | None = None


class BecknConfig(_Section):
    """Our identity on the network and the public listener."""

    host: str = "127.0.0.1"
    port: Port = 8090
    mode: Literal["direct", "onix", "protocol_server"] = "direct"
    subscriber_id: str = "bpp.example.com"
    unique_key_id: str = "key-1"
    bpp_uri: str | None = Field(None, description="what peers call; default http://HOST:PORT/beckn/bpp/receiver")
    signing_key: SecretStr | None = Field(None, description="base64 of the 32-byte seed; made in data_dir when absent")
    signing_key_file: Path | None = None
    domains: dict[str, str] = Field(
        default_factory=dict, description="which dialect a `context.domain` means, beside the built-in ones"
    )
    encryption_key: SecretStr | None = Field(
        None, description="base64 of the X25519 private key for /on_subscribe; made in data_dir when absent"
    )
    encryption_key_file: Path | None = Field(None, description="a file with the same")
    registry: str = Field(
        "",
        description="static:FILE, lookup:URL (a classic registry) or dedi:URL; empty = nobody is known: `direct` "
        "refuses every request",
    )
    lookup_key_field: Literal["ukId", "key_id", "unique_key_id"] = Field(
        "ukId", description="what a classic registry calls the key id in a lookup"
    )
    registry_name: str = Field("subscribers.beckn.one", description="the DeDi registry participants are looked up in")
    allowed_parent_namespaces: tuple[str, ...] = Field(
        (), description="DeDi: a record must hang under one of these; empty = any"
    )
    registry_timeout_s: float = Field(5, gt=0, le=30, description="one question to the registry")
    registry_stale_s: int = Field(
        3600, ge=0, description="while the registry is down, keys that ran out of the cache are believed so long"
    )
    key_cache_s: int = Field(600, ge=1, description="how long a key that was looked up is believed")
    on_subscribe_mode: Literal["decrypt", "sign", "off"] = Field(
        "decrypt", description="how a registry's challenge is answered: by the specification, or by signing it"
    )
    registry_encryption_key: str | None = Field(
        None, description="the registry's public X25519 key, base64: what its challenges are decrypted with"
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="behind an adapter: what `webhook_header` must carry (`onix`), the shared HMAC key "
        "(`protocol_server`)",
    )
    webhook_header: str = Field("X-Webhook-Secret", description="`onix`: the header that carries `webhook_secret`")
    webhook_open: bool = Field(
        False, description="behind an adapter: believe whoever reaches the port, when nothing else proves the sender"
    )
    reverify: bool | None = Field(
        None,
        description="`onix`: verify the forwarded signature again; empty = when a registry is configured",
    )
    on_search_target: Literal["bap", "sender"] = Field(
        "bap", description="where the answer to a search goes that came through a gateway: `sender` is the gateway"
    )
    gateway_required: bool = Field(False, description="a `search` must carry the signature of a gateway")
    caller_url: str | None = None
    cds_url: str | None = Field(
        None,
        description="a catalogue discovery service that the catalog is pushed to; behind an adapter the adapter "
        "is posted to, and this names whose answers are believed",
    )
    cds_domain: str = Field("beckn.one:deg:ev-charging:*", description="the domain that published catalogs name")
    publish_every_s: float = Field(900, ge=10, description="every catalog is published again after this")
    publish_after_s: float = Field(30, ge=0, description="a change is published so long after it, with all that follow")
    ubc: bool = Field(
        False,
        description="the national network's profile (UBC) for its two domains, `beckn.one:deg:ev-charging` and `…:*`",
    )
    scan_area: int = Field(
        30,
        ge=0,
        description="searches of one app in one area that see the state of now; beyond them it is shown less "
        "and less. 0 = no limit",
    )
    scan_total: int = Field(300, ge=0, description="the same in all areas together. 0 = no limit")
    scan_per_select: int = Field(20, ge=0, description="searches more for every selection")
    scan_half_life_s: float = Field(3600, gt=0, description="counts of searches and selections halve in this time")
    ack_shape: Literal["auto", "legacy", "v2"] = "auto"
    connector_enum: Literal["v1", "v2"] = "v1"
    uei_connector_codes: Literal["plain", "ocpi_lower", "ocpi_upper"] = Field(
        "plain", description="how plugs are spelled in the Indian energy interface's dialects: CCS2, or OCPI's codes"
    )
    provider_id: str = "cpo"
    provider_name: str = "Charge point operator"
    currency: str = "INR"
    clock_ahead_s: int = 10
    clock_behind_s: int = 5
    reject_stale: bool = False
    lenient_order_ids: bool = Field(True, description="an unknown order id falls back to the transaction's only order")
    telemetry_every_s: float = Field(
        60, gt=0, description="progress of a session is told at most so often, when its meter says something new"
    )
    telemetry_share: float = Field(
        0.05, gt=0, le=1, description="… and when so large a part of what was bought has flowed"
    )
    long_break_s: float = Field(900, gt=0, description="an interruption longer than this is told as an estimate")
    callback_timeout_s: float = Field(10, gt=0)
    feedback_form: bool = Field(
        False, description="answer a rating with a link to a form where the driver can say more"
    )
    support_phone: str | None = Field(None, description="where drivers are helped; told to buyer apps that ask")
    support_email: str | None = Field(None, description="the same by e-mail")
    support_url: str | None = Field(None, description="a page of yours, linked from the page of a question")
    support_hours: str | None = Field(None, description="when somebody is there, e.g. `Mon-Sat 08:00-20:00 IST`")
    support_channels: tuple[Literal["PHONE", "EMAIL", "WEB", "CHAT", "WHATSAPP", "IN_APP", "OTHER"], ...] = Field(
        (), description="ways to reach you; empty = those for which there is an address above, and the web"
    )
    callback_retry_s: tuple[float, ...] = Field(
        (1, 5, 30, 120, 300), min_length=1, description="pauses between attempts; the last one repeats"
    )
    callback_give_up_s: float = Field(
        259_200, gt=0, description="a callback this old that still fails is given up, and a case is opened"
    )
    body_kib: int = 1024
    requests_per_min: int = Field(600, description="per buyer app; discover has its own, lower limit")
    discover_per_min: int = 120
    circle_km: float = 50
    max_items: int = 200
    collect: Literal["negotiate", "bpp", "bap"] = Field(
        "negotiate", description="who takes the money: as the buyer's app proposes, always we, or always the app"
    )
    grace_min: int = Field(10, ge=0, le=240, description="how long a reserved connector waits for its driver")
    start_otp: Literal["off", "fleet", "all"] = Field(
        "off",
        description="whose charging starts only with a one-time password from the driver's telephone; a location with "
        "`start_otp: true` wants one from everybody",
    )
    otp_life_s: int = Field(600, ge=60, le=3600, description="how long a one-time password holds")
    start_timeout_s: float = Field(
        60, gt=0, description="a sold start without effect is given up after this, and may be tried again"
    )
    callback_hosts: tuple[str, ...] = Field(
        (), description="hosts where callbacks may go besides the one the registry lists for the buyer app"
    )
    listed_hosts_private: bool = Field(
        True, description="hosts the registry lists may be private; false where it takes whatever participants write"
    )
    callback_hosts_private: bool = Field(
        False, description="for trials on one machine: callbacks may go to any host, listed or not, private or not"
    )


class EnergyPricesConfig(_Section):
    """Prices by the hour from a supplier, on top of the tariffs."""

    source: str = Field(
        "", description="file:PATH or openadr:URL (OpenADR 3: the list at `GET URL` is read); empty = none"
    )
    token: SecretStr | None = Field(None, description="sent to the URL as a bearer token")
    every_s: float = Field(60, ge=1, description="how often the source is read")
    markup: Annotated[float, Field(ge=-1000, le=1000)] = Field(
        0, description="per kWh before tax, added to the prices of an OpenADR source"
    )


class PaymentsConfig(_Section):
    """How money is collected."""

    provider: Literal["simulated", "orderpay"] = Field(
        "simulated", description="`orderpay`: a gateway with orders, payments, refunds and webhooks, at gateway_url"
    )
    public_url: str | None = Field(None, description="what drivers open; default the public listener")
    gateway_url: str | None = Field(None, description="where the gateway's API is; https, or http on this machine")
    key_id: str | None = Field(None, min_length=1, description="our name at the gateway (HTTP Basic)")
    key_secret: SecretStr | None = Field(None, description="of `key_id`")
    key_secret_file: Path | None = Field(None, description="a file with the same")
    webhook_secret: SecretStr | None = None
    webhook_secret_file: Path | None = Field(None, description="a file with the same")
    gateway_timeout_s: float = Field(10, gt=0, le=60, description="one call to the gateway")
    reconcile_s: float = Field(
        60, gt=0, description="how soon the gateway is asked about a payment that is not final; older ones more seldom"
    )
    hold_warn_s: float = Field(
        21_600, ge=0, description="a hold that ends so soon before its order is billed opens a case"
    )
    upi_vpa: str = "cpo@upi"
    upi_name: str = "Charge point operator"
    pattern: Literal["BUFFER_IN_QUOTE", "HOLD", "TOP_UP", "CPO_ABSORBS"] = "BUFFER_IN_QUOTE"
    absorb_cap: float = 50
    claims: bool = Field(
        True,
        description="simulated gateway only: a confirm that names the reference we issued counts as paid",
    )
    settlement_account: dict[str, str] = Field(default_factory=dict)
    postpaid: bool = Field(
        False, description="orders may be confirmed unpaid, and are paid by their bill; a tariff may say otherwise"
    )

    @model_validator(mode="after")
    def _reachable(self) -> PaymentsConfig:
        if self.provider == "simulated":
            return self
        if self.gateway_url is None or self.key_id is None or not (self.key_secret or self.key_secret_file):
            raise ValueError(f"{self.provider} needs gateway_url, key_id and key_secret (or key_secret_file)")
        if not (self.webhook_secret or self.webhook_secret_file):
            raise ValueError(f"{self.provider} needs webhook_secret (or webhook_secret_file)")
        if not re.match(r"https://[^/]|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", self.gateway_url):
            raise ValueError("gateway_url must begin with https://: our secret goes there")
        return self


class MessagesConfig(_Section):
    """Texts to drivers' telephones (one-time passwords): handed to whoever can send them, over HTTP."""

    url: str = Field("", description="takes each message by POST, signed; empty = nothing is sent")
    secret: SecretStr | None = Field(None, description="what the messages are signed with (HMAC-SHA256)")
    secret_file: Path | None = Field(None, description="a file with the same")
    timeout_s: float = Field(5, gt=0, le=10, description="one attempt to hand a message over")

    @model_validator(mode="after")
    def _whole(self) -> MessagesConfig:
        if self.url and not (self.secret or self.secret_file):
            raise ValueError("url needs secret (or secret_file)")
        if self.url and not re.match(r"https://[^/]|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/|$)", self.url):
            raise ValueError("url must begin with https://: passwords go there")
        return self


class MqttConfig(_Section):
    """The MQTT bridge; empty = off."""

    url: Annotated[str, _not_built("chargers over MQTT are not bridged yet: leave it empty")] = ""


class BleConfig(_Section):
    """The BLE shim; off until it comes."""

    enabled: Annotated[bool, _not_built("there is no BLE shim yet: leave it off")] = False


class StorageConfig(_Section):
    """Where the truth is kept."""

    url: str = ""


class BusConfig(_Section):
    """How nodes wake each other; empty = one process."""

    url: Annotated[str, _not_built("one process is what it runs as: leave it empty")] = ""


class LimitsConfig(_Section):
    """Timers of SESSIONS 5.6 and the bounds that protect us."""

    start_s: float = Field(150, gt=0, description="an operator's start without effect is given up after this")
    notify_s: int = Field(60, ge=0)
    drain_s: int = Field(180, ge=0)
    drain_max_s: int = Field(1800, ge=0)
    bootstop_s: int = Field(600, ge=0)
    resume_s: int = Field(900, ge=0)
    stop_s: int = Field(45, gt=0)
    stop_tries: int = Field(3, ge=1)
    data_online_s: int = Field(1800, ge=0)
    data_offline_s: int = Field(86400, ge=0)
    abandon_min_s: int = Field(21600, gt=0)
    abandon_max_s: int = Field(86400, gt=0)
    final_s: int = Field(7 * 86400, gt=0)
    provisional_after_s: float = Field(300, ge=0, description="interrupted with the power gone: provisional refund")
    sample_interval_s: float = Field(60, gt=0, description="meter sample interval; three unseen ones are the margin")
    unused_s: int = Field(
        86400, gt=0, description="a paid order without a slot that was not started by then is cancelled and refunded"
    )
    quote_life_s: float = Field(900, gt=0)
    reserve_ahead_s: float = Field(
        60, ge=0, le=86400, description="a charger is told of a reservation so long before its window begins"
    )
    writer_queue: int = Field(20000, ge=100, description="above it the sockets are not read until the writer caught up")


class RetentionConfig(_Section):
    """How long raw material is kept, in days. Session facts, orders and the ledger are not deleted."""

    frames_days: int = 90
    money_days: int = Field(
        2922, ge=366, description="documents (invoices, notes, statements) older than this are deleted"
    )


class BooksConfig(_Section):
    """Documents and statements."""

    zone: str = Field("Asia/Kolkata", description="civil time in which months begin and end")
    statements_day: int = Field(
        3, ge=0, le=28, description="day of the month from which the last month's statements are made; 0 = by hand"
    )

    @field_validator("zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone") from error
        return value


class FilesConfig(_Section):
    """Files that chargers upload and fetch, on the public listener."""

    folder: Path = Field(Path("files"), description="where they lie; a relative path is below data_dir")
    public_url: str | None = Field(None, description="what chargers reach; default the public listener")
    upload_mib: int = Field(256, ge=1, le=16384, description="the largest log a charger may upload")
    firmware_mib: int = Field(1024, ge=1, le=16384, description="the largest firmware image")
    upload_life_s: int = Field(86_400, ge=60, description="how long after it was asked a charger may upload a log")
    download_life_s: int = Field(
        604_800, ge=60, description="how long after it was asked a charger may fetch its firmware"
    )
    logs_days: int = Field(90, ge=1, description="received logs older than this are deleted")


class TelemetryConfig(_Section):
    """Logs, metrics, traces."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool | None = Field(None, description="None: JSON unless standard error is a terminal")


class Config(_Section):
    """The whole configuration."""

    data_dir: Path = Path("data")
    node: str = "node-1"
    ocpp: OcppConfig = OcppConfig()
    provisioning: ProvisioningConfig = ProvisioningConfig()
    access: AccessConfig = AccessConfig()
    tls: TlsConfig = TlsConfig()
    api: ApiConfig = ApiConfig()
    beckn: BecknConfig = BecknConfig()
    payments: PaymentsConfig = PaymentsConfig()
    energy_prices: EnergyPricesConfig = EnergyPricesConfig()
    messages: MessagesConfig = MessagesConfig()
    mqtt: MqttConfig = MqttConfig()
    ble: BleConfig = BleConfig()
    storage: StorageConfig = StorageConfig()
    bus: BusConfig = BusConfig()
    limits: LimitsConfig = LimitsConfig()
    retention: RetentionConfig = RetentionConfig()
    books: BooksConfig = BooksConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    files: FilesConfig = FilesConfig()

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser()

    @model_validator(mode="after")
    def _can_send_passwords(self) -> Config:
        if self.beckn.start_otp != "off" and not self.messages.url:
            raise ValueError("beckn.start_otp: somebody must send the passwords; set messages.url")
        return self

    @property
    def sqlite_path(self) -> Path:
        """The SQLite file. Raises ConfigProblem for a URL this version cannot open."""
        url = self.storage.url
        if not url:
            return self.data_dir / "csms.db"
        if url.startswith("sqlite:///"):
            return Path(url.removeprefix("sqlite:///"))
        raise ConfigProblem(
            f"storage.url: {url.split(':', 1)[0]} is not supported yet; use sqlite:///FILE or leave it empty"
        )


def load(path: Path | None, environ: dict[str, str] | None = None) -> Config:
    """Read the TOML file at `path` (or CSMS_CONFIG, or ./csms.toml when there) and the environment.

    Raises ConfigProblem with file and line for every unknown key or bad value.
    """
    env = dict(os.environ) if environ is None else environ
    if path is None and env.get("CSMS_CONFIG"):
        path = Path(env["CSMS_CONFIG"])
    if path is None and Path("csms.toml").exists():
        path = Path("csms.toml")
    text = ""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
            values = tomllib.loads(text)
        except OSError as error:
            raise ConfigProblem(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigProblem(f"{path}: not a text in UTF-8 (byte {error.start})") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigProblem(f"{path}: {error}") from error
    variables = _overlay(values, env)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        lines = [_describe(problem, path, text, variables) for problem in error.errors()]
        raise ConfigProblem("\n".join(lines)) from error


# Variables of ours that are no configuration of the server: its own file, the operator commands, tests, simulators.
_NOT_KEYS = {"CONFIG", "URL", "API_KEY", "FAULT_SEEDS", "FIRST_STORY", "STORIES", "TEST_PG_DSN", "CHROMIUM"}
_NOT_OURS = "SIM_"


def _overlay(values: dict[str, Any], env: dict[str, str]) -> dict[tuple[str, ...], str]:
    """Lay the environment over the file's values; which variable each key came from."""
    variables: dict[tuple[str, ...], str] = {}
    for name, raw in sorted(env.items()):
        key = name.removeprefix(ENV_PREFIX)
        if not name.startswith(ENV_PREFIX) or key in _NOT_KEYS or key.startswith(_NOT_OURS):
            continue
        parts = key.lower().split("__")
        value: Any = raw
        if parts[-1].endswith("_file") and not _is_key(parts):
            parts[-1] = parts[-1].removesuffix("_file")
            try:
                value = Path(raw).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigProblem(f"{name}: cannot read {raw}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise ConfigProblem(f"{name}: {raw} is not a text in UTF-8 (byte {error.start})") from error
        target = values
        for part in parts[:-1]:
            nested = target.setdefault(part, {})
            if not isinstance(nested, dict):
                raise ConfigProblem(f"{name}: {part} is not a section")
            target = nested
        target[parts[-1]] = _typed(parts, value)
        variables[tuple(parts)] = name
    return variables


def _is_key(parts: list[str]) -> bool:
    model: type[BaseModel] = Config
    for part in parts[:-1]:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return parts[-1] in model.model_fields


def _typed(parts: list[str], value: Any) -> Any:
    """Lists and tables come as TOML text in the environment; scalars are left to pydantic."""
    if isinstance(value, str) and value.startswith(("[", "{")):
        try:
            return tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError as error:
            raise ConfigProblem(f"{ENV_PREFIX}{'__'.join(parts).upper()}: {error}") from error
    return value


def _describe(problem: ErrorDetails, path: Path | None, text: str, variables: dict[tuple[str, ...], str]) -> str:
    names = [str(part) for part in problem["loc"]]
    key = ".".join(names)
    where = "environment"
    variable = next(
        (variables[tuple(names[:n])] for n in range(len(names), 0, -1) if tuple(names[:n]) in variables), None
    )
    if variable is not None:
        where = variable
    elif path is not None:
        line = _line_of(names, text)
        if line is not None:
            where = f"{path}:{line}"
    what = "unknown key" if problem["type"] == "extra_forbidden" else problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {what}"


def _line_of(names: list[str], text: str) -> int | None:
    section: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[+([^\]]+)\]+", line):
            section = [part.strip().strip('"') for part in match[1].split(".")]
            if section == names:
                return number
        match = re.match(r"\s*([\w.\"-]+)\s*=", line)
        if match is not None and section + [part.strip('"') for part in match[1].split(".")] == names:
            return number
    return None


def flat(config: Config) -> dict[str, str]:
    """Every key with its effective value, secrets masked, for `csms config show`."""

    def walk(prefix: str, model: BaseModel) -> dict[str, str]:
        out: dict[str, str] = {}
        for name in type(model).model_fields:
            value = getattr(model, name)
            key = f"{prefix}{name}"
            if isinstance(value, BaseModel):
                out.update(walk(f"{key}.", value))
            else:
                out[key] = "" if value is None else str(value)
        return out

    return walk("", config)


def decode_seed(text: str) -> bytes:
    """A base64 signing key: the 32-byte seed, or the 64-byte form whose first half is the seed (BECKN 2.1)."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise ConfigProblem("beckn.signing_key is not base64") from error
    if len(raw) not in {32, 64}:
        raise ConfigProblem(f"beckn.signing_key must hold 32 bytes (a seed), not {len(raw)}")
    return raw
