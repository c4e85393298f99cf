"""Secrets taken out of OCPP messages before a person or a program sees them.

A password travels in three shapes: as a member of its own name (`basicAuthPassword`), as the value beside a key
that names it (1.6 `{"key": "AuthorizationKey", "value": …}`), and as the value of a device model variable
(2.0.1 `{"variable": {"name": "BasicAuthPassword"}, "attributeValue": …}`). URLs may carry one, too.
What a driver types at a keypad (2.0.1 KeyCode) is a secret, too.
"""

from __future__ import annotations

import re
from typing import Any, Final

MASK: Final = "***"

_NAMES: Final = frozenset(
    {"authorizationkey", "basicauthpassword", "authorization", "signing_key", "api_key", "simpin", "otp"}
)
# Members that hold the value of whatever a sibling names.
_VALUES: Final = frozenset({"value", "attributevalue", "variableattribute"})
_NAMING: Final = ("key", "name", "configurationKey")
_URL_LOGIN: Final = re.compile(r"(?<=://)[^/@\s\"]+@")
# Our own addresses of files: what follows the id opens them.
_FILE_SECRET: Final = re.compile(r"(/files/(?:up|fw)/[^/\s\"]+/)[^/\s\"]+")


def mask(value: Any, *, inside: bool = False) -> Any:
    """`value` (parsed JSON) without its secrets. `inside` says that every text in it is a secret's value."""
    match value:
        case dict():
            secret = _secret_members(value)
            return {_whole(key): mask(member, inside=inside or key in secret) for key, member in value.items()}
        case list():
            return [mask(item, inside=inside) for item in value]
        case str():
            return MASK if inside and value else _addresses(_whole(value))
        case int() | float() if inside and not isinstance(value, bool):
            return MASK
        case _:
            return value


def _whole(text: str) -> str:
    """Without half characters: a charger may send them, no UTF-8 can show them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def mask_text(raw: str) -> str:
    """A frame that is no JSON: as it came, or withheld as a whole when it speaks of a secret."""
    folded = raw.lower()
    if "password" in folded or any(name in folded for name in _NAMES):
        return f"{MASK} (withheld: it cannot be read as JSON and speaks of a password)"
    return _addresses(raw)


def _addresses(text: str) -> str:
    """Without the secrets of URLs in it."""
    text = _URL_LOGIN.sub(f"{MASK}@", text)
    return _FILE_SECRET.sub(rf"\1{MASK}", text) if "/files/" in text else text


def is_secret(name: str) -> bool:
    """Whether a member or a configuration key of this name holds a secret."""
    folded = name.lower()
    return folded in _NAMES or folded.endswith("password")


def _secret_members(member: dict[str, Any]) -> set[str]:
    secret = {key for key in member if is_secret(key)}
    if _names_a_secret(member):
        secret |= {key for key in member if key.lower() in _VALUES}
    if str(member.get("type")).lower() == "keycode":  # 2.0.1 IdTokenType: what a driver typed in (C01)
        secret.add("idToken")
    if "server" in member and "user" in member:  # 2.0.1 VPNType: its `key` is the shared secret
        secret.add("key")
    return secret


def _names_a_secret(member: dict[str, Any]) -> bool:
    for naming in _NAMING:
        if isinstance(name := member.get(naming), str) and is_secret(name):
            return True
    variable = member.get("variable")
    return isinstance(variable, dict) and isinstance(variable.get("name"), str) and is_secret(variable["name"])
