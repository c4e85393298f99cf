"""`csms beckn`: joining a network. `subscribe` posts our entry to a classic registry (BECKN 3.1)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csms.cli.server import ConfigOption, fail, load_config

if TYPE_CHECKING:
    from csms.config import Config

_DAY_MS = 86_400_000


def register(app: typer.Typer) -> None:
    """Hang the commands onto `app`."""
    group = typer.Typer(help="joining a Beckn network", no_args_is_help=True)
    group.command("subscribe")(subscribe)
    group.command("entry")(show_entry)
    app.add_typer(group, name="beckn")


Domain = Annotated[str, typer.Option("--domain", help="the domain to be listed under, as the network spells it")]
Url = Annotated[str | None, typer.Option("--url", help="what peers call; default beckn.bpp_uri")]
KeyId = Annotated[str | None, typer.Option("--key-id", help="the id of the listed key; default beckn.unique_key_id")]
SigningKeyFile = Annotated[
    Path | None, typer.Option("--signing-key", help="file with the seed to list; default the one in use")
]
EncryptionKeyFile = Annotated[
    Path | None, typer.Option("--encryption-key", help="file with the X25519 key to list; default the one in use")
]
Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="how long the entry is to be valid")]
City = Annotated[str | None, typer.Option("--city", help="city code, for example std:080")]
Country = Annotated[str, typer.Option("--country", help="country code, with --city")]


def subscribe(
    domain: Domain,
    config: ConfigOption = None,
    url: Url = None,
    key_id: KeyId = None,
    signing_key: SigningKeyFile = None,
    encryption_key: EncryptionKeyFile = None,
    days: Days = 365,
    city: City = None,
    country: Country = "IND",
) -> None:
    """Post our entry to the registry's /subscribe. The running server then answers its challenge."""
    settings = load_config(config)
    kind, _, where = settings.beckn.registry.partition(":")
    if kind != "lookup":
        fail(
            "only a classic registry is subscribed to: set beckn.registry to lookup:URL; see also `csms beckn entry`", 2
        )
    body = _entry(settings, domain, url, key_id, signing_key, encryption_key, days, _location(city, country))
    address = where.rstrip("/").removesuffix("/lookup") + "/subscribe"
    if encryption_key is not None:
        _make_known(settings, encryption_key)
    status, text = asyncio.run(_post(settings, address, body))
    if status // 100 != 2:
        fail(f"{address} answers HTTP {status}: {text[:500]}")
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    state = said.get("status") if isinstance(said, dict) else None
    typer.echo(json.dumps({"subscriber_id": body["subscriber_id"], "key_id": body["key_id"], "status": state}))


def show_entry(
    domain: Domain,
    config: ConfigOption = None,
    url: Url = None,
    key_id: KeyId = None,
    signing_key: SigningKeyFile = None,
    encryption_key: EncryptionKeyFile = None,
    days: Days = 365,
    city: City = None,
    country: Country = "IND",
) -> None:
    """Print our entry, for networks where a person enters it."""
    settings = load_config(config)
    body = _entry(settings, domain, url, key_id, signing_key, encryption_key, days, _location(city, country))
    typer.echo(json.dumps(body, indent=2))


def _entry(
    config: Config,
    domain: str,
    url: str | None,
    key_id: str | None,
    signing_key: Path | None,
    encryption_key: Path | None,
    days: int,
    location: dict[str, Any] | None,
) -> dict[str, Any]:
    from beckn_adapter import subscription
    from beckn_adapter.signing import KeyProblem, load_seed, public_of
    from csms.config import ConfigProblem
    from csms.realworld import RealClock, RealIds
    from csms.settings import ServeProblem, beckn_seed
    from csms.settings import encryption_key as our_encryption_key

    address = url or config.beckn.bpp_uri
    if address is None:
        fail("say what peers call: --url, or beckn.bpp_uri in the configuration", 2)
    if (signing_key is not None) and key_id in {None, config.beckn.unique_key_id}:
        fail("a new signing key needs a key id of its own: --key-id", 2)
    now_ms = RealClock().now_ms()
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        seed = load_seed(signing_key.read_text()) if signing_key is not None else beckn_seed(config)
        encryption = (
            subscription.load_encryption_key(encryption_key.read_text())
            if encryption_key is not None
            else our_encryption_key(config)
        )
    except (KeyProblem, ServeProblem, ConfigProblem) as problem:
        fail(str(problem), 2)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"a key cannot be read: {error}", 2)
    return subscription.entry(
        subscriber_id=config.beckn.subscriber_id,
        url=address,
        domain=domain,
        key_id=key_id or config.beckn.unique_key_id,
        signing_public_key=public_of(seed),
        encryption_public_key=subscription.encryption_public_of(encryption),
        valid_from_ms=now_ms,
        valid_until_ms=now_ms + days * _DAY_MS,
        nonce=RealIds().uuid(),
        location=location,
    )


def _location(city: str | None, country: str) -> dict[str, Any] | None:
    return {"country": {"code": country}, "city": {"code": city}} if city is not None else None


def _make_known(config: Config, encryption_key: Path) -> None:
    """The running server answers with this key, too, until it is configured as its own."""
    from csms.settings import NEXT_ENCRYPTION_KEY

    target = config.data_dir / NEXT_ENCRYPTION_KEY
    try:
        target.touch(mode=0o600)
        target.write_text(encryption_key.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


async def _post(config: Config, address: str, body: dict[str, Any]) -> tuple[int, str]:
    """Signed with the key in use, which the registry knows, if it knows any."""
    import aiohttp

    from beckn_adapter.envelope import serialise
    from beckn_adapter.posting import read_some
    from csms.realworld import RealClock
    from csms.settings import beckn_signer, outbound

    raw = serialise(body)
    now_s = RealClock().now_ms() // 1000
    headers = {"Content-Type": "application/json", "Authorization": beckn_signer(config)(raw, now_s)}
    way_out = outbound(config)
    try:
        session = way_out.session(address, listed=True)
        async with session.post(address, data=raw, headers=headers, allow_redirects=False) as response:
            return response.status, (await read_some(response, 64 * 1024)).decode(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        fail(f"{address} cannot be reached: {type(error).__name__}: {error}")
    finally:
        await way_out.close()
