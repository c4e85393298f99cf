"""Secrets in messages: what is shown to nobody, and what is not even stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from csms.app.masks import mask, stored_text, without_passwords

SECRET = "hunter2-hunter2"
VARIABLE = {"component": {"name": "SecurityCtrlr"}, "variable": {"name": "BasicAuthPassword"}}
PASSWORDS: list[Any] = [
    {"key": "AuthorizationKey", "value": SECRET},
    {"key": " authorizationkey ", "value": SECRET},
    {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": SECRET}]},
    {"setVariableData": [{**VARIABLE, "attributeValue": SECRET}]},
    {"reportData": [{**VARIABLE, "variableAttribute": [{"type": "Actual", "value": SECRET}]}]},
    {"eventData": [{**VARIABLE, "eventId": 1, "actualValue": SECRET}]},
    {"connectionData": {"basicAuthPassword": SECRET, "apn": {"apn": "a", "apnPassword": SECRET}}},
]
OTHERS: list[Any] = [
    {"idToken": {"idToken": SECRET, "type": "KeyCode"}},
    {"vpn": {"server": "s", "user": "u", "key": SECRET}},
    {"location": f"ftp://user:{SECRET}@host/in"},
    {"location": f"https://host/files/up/1/{SECRET}/"},
    {"vendorId": "v", "data": json.dumps({"settings": [{"AuthorizationKey": SECRET}]})},
    {"vendorId": "v", "data": f'{{"password": "{SECRET}"'},
]


@pytest.mark.parametrize("payload", [*PASSWORDS, *OTHERS])
def test_no_secret_is_shown(payload: Any) -> None:
    shown = json.dumps(mask(payload))
    assert SECRET not in shown
    assert "***" in shown


@pytest.mark.parametrize("payload", PASSWORDS)
def test_no_password_is_stored(payload: Any) -> None:
    assert SECRET not in json.dumps(without_passwords(payload))
    frame = json.dumps([2, "1", "X", payload])
    assert SECRET not in stored_text(frame)
    assert json.loads(stored_text(frame))[:3] == [2, "1", "X"]


@pytest.mark.parametrize("payload", [{"data": '{"a": [1, "b"]}'}, {"data": "[the password is asked for]x"[1:]}, {}])
def test_what_holds_no_secret_is_shown_and_stored_as_it_was(payload: Any) -> None:
    assert mask(payload) == payload
    frame = json.dumps([3, "1", payload])
    assert stored_text(frame) == frame


def test_what_others_read_again_is_stored_whole() -> None:
    """Addresses and codes in lists are needed to know what a charger was told."""
    for payload in OTHERS[:4]:
        assert without_passwords(payload) == payload
