"""Secrets taken out of OCPP messages before a person or a program sees them.

A password travels in three shapes: as a member of its own name (`basicAuthPassword`), as the value beside a key
that names it (1.6 `{"key": "AuthorizationKey", "value": …}`), and as the value of a device model variable
(2.0.1 `{"variable": {"name": "BasicAuthPassword"}, "attributeValue": …}`). URLs may carry one, too.
What a driver types at a keypad (2.0.1 KeyCode) is a secret, too.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

MASK: Final = "***"

_NAMES: Final = frozenset(
    {"authorizationkey", "basicauthpassword", "authorization", "signing_key", "api_key", "simpin", "otp"}
)
# Members that hold the value of whatever a sibling names.
_VALUES: Final = frozenset({"value", "attributevalue", "variableattribute", "actualvalue"})
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
            return MASK if inside and value else _unpacked(_addresses(_whole(value)))
        case int() | float() if inside and not isinstance(value, bool):
            return MASK
        case _:
            return value


def _whole(text: str) -> str:
    """Without half characters: a charger may send them, no UTF-8 can show them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def mask_text(raw: str) -> str:
    """A frame that is no JSON: as it came, or withheld as a whole when it speaks of a secret."""
    if _speaks_of_a_secret(raw):
        return f"{MASK} (withheld: it cannot be read as JSON and speaks of a password)"
    return _addresses(raw)


def without_passwords(value: Any) -> Any:
    """What may be stored of a message of ours or its answer: whoever has the file must not have the chargers'
    passwords. All else stays as it was, for those who read it again."""
    match value:
        case dict():
            secret = {key for key in value if is_secret(key)}
            if _names_a_secret(value):
                secret |= {key for key in value if key.lower() in _VALUES}
            return {
                key: mask(member, inside=True) if key in secret else without_passwords(member)
                for key, member in value.items()
            }
        case list():
            return [without_passwords(item) for item in value]
        case _:
            return value


def stored_text(frame: str) -> str:
    """The text of a frame without passwords."""
    if not _speaks_of_a_secret(frame):
        return frame
    whole = json.loads(frame)
    fit = without_passwords(whole)
    return frame if fit == whole else json.dumps(fit, separators=(",", ":"))


def _speaks_of_a_secret(text: str) -> bool:
    folded = text.lower()
    return "password" in folded or any(name in folded for name in _NAMES)


def _unpacked(text: str) -> str:
    """JSON inside a text, which is how vendors fill a DataTransfer: masked like the rest when a secret is in it."""
    if not text.lstrip().startswith(("{", "[")) or not _speaks_of_a_secret(text):
        return text
    try:
        return json.dumps(mask(json.loads(text)), ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return mask_text(text)


def _addresses(text: str) -> str:
    """Without the secrets of URLs in it."""
    text = _URL_LOGIN.sub(f"{MASK}@", text)
    return _FILE_SECRET.sub(rf"\1{MASK}", text) if "/files/" in text else text


def is_secret(name: str) -> bool:
    """Whether a member or a configuration key of this name holds a secret."""
    folded = name.strip().lower()
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
