"""Vendors' own messages: who is known, which message, and what their contract says."""

from __future__ import annotations

from typing import Any

import pytest

from csms.edges.ocpp16 import wire as wire16
from csms.edges.ocpp201 import wire as wire201
from csms.edges.vendors import Reply, reply


@pytest.mark.parametrize(
    ("vendor", "message", "data", "expected"),
    [
        ("org.nobody", "Echo", "x", Reply("UnknownVendorId")),
        ("com.example", "Fly", "x", Reply("UnknownMessageId")),
        ("com.example", None, "x", Reply("UnknownMessageId")),
        ("com.example", "", "x", Reply("UnknownMessageId")),
        ("COM.Example", "Echo", {"a": [1]}, Reply("Accepted", {"a": [1]})),
        ("com.example", "Echo", None, Reply("Accepted")),
        ("com.example", "EnergyLimit", " 500 ", Reply("Accepted")),
        ("com.example", "EnergyLimit", 500, Reply("Accepted")),
        ("com.example", "EnergyLimit", True, Reply("Rejected")),
        ("com.example", "EnergyLimit", "five", Reply("Rejected")),
        ("com.example", "EnergyLimit", None, Reply("Rejected")),
    ],
)
def test_the_contract_of_the_vendor_decides(vendor: str, message: str | None, data: Any, expected: Reply) -> None:
    assert reply(vendor, message, data) == expected


def test_a_vendor_may_have_a_message_without_an_id() -> None:
    vendors = {"com.plain": {None: lambda data: (True, data)}}
    assert reply("com.plain", None, 1, vendors) == Reply("Accepted", 1)
    assert reply("com.plain", "", 1, vendors) == Reply("Accepted", 1)
    assert reply("com.plain", "x", 1, vendors) == Reply("UnknownMessageId")


def test_the_data_of_an_answer_is_text_in_1_6_and_anything_in_2_0_1() -> None:
    assert wire16.data_transfer_answer("Accepted", {"a": 1}) == {"status": "Accepted", "data": '{"a":1}'}
    assert wire16.data_transfer_answer("Accepted", "x") == {"status": "Accepted", "data": "x"}
    assert wire201.data_transfer_answer("Accepted", {"a": 1}) == {"status": "Accepted", "data": {"a": 1}}
