"""Frames: every shape a charger may send is read or named, and nothing is ever raised."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.edges.ocppj.codes import ERROR_CODES, Fault, Version
from csms.edges.ocppj.frames import (
    Call,
    Error,
    Malformed,
    Result,
    encode_call,
    encode_error,
    encode_id,
    encode_result,
    parse,
    reply_to_malformed,
)

GOOD = {
    '[2,"1","Heartbeat",{}]': Call("1", "Heartbeat", {}, b'"1"'),
    '[2,"1","Heartbeat",null]': Call("1", "Heartbeat", {}, b'"1"'),
    ' [ 2 , "1" , "Heartbeat" , { } ] ': Call("1", "Heartbeat", {}, b'"1"'),
    '[2.0,"1","Heartbeat",{}]': Call("1", "Heartbeat", {}, b'"1"'),
    '[2,17,"Heartbeat",{}]': Call("17", "Heartbeat", {}, b"17"),
    '[2,"","Heartbeat",{}]': Call("", "Heartbeat", {}, b'""'),
    '[2,"a\\"b","Heartbeat",{}]': Call('a"b', "Heartbeat", {}, b'"a\\"b"'),
    f'[2,"{"x" * 200}","Heartbeat",{{}}]': Call("x" * 200, "Heartbeat", {}, f'"{"x" * 200}"'.encode()),
    '[2,"1","Heartbeat",[]]': Call("1", "Heartbeat", [], b'"1"'),
    '[3,"1",{"status":"Accepted"}]': Result("1", {"status": "Accepted"}),
    '[3,"1",null]': Result("1", {}),
    "[3,7,{}]": Result("7", {}),
    '[4,"1","NotSupported","no",{"a":1}]': Error("1", "NotSupported", "no", {"a": 1}),
    '[4,"1","NotSupported","no"]': Error("1", "NotSupported", "no", {}),
    '[4,"1","NotSupported"]': Error("1", "NotSupported", "", {}),
    '[4,"1","NotSupported",null,null]': Error("1", "NotSupported", "", {}),
    '[4,"1"]': Error("1", "GenericError", "", {}),
    '[4,"1",5]': Error("1", "GenericError", "", {}),
    '[4,"1","NotSupported","no",{},1]': Error("1", "NotSupported", "no", {}),
    '[4,"1","NotSupported",5,"x"]': Error("1", "NotSupported", "5", "x"),
}

# text -> id that could be read, fault; None as fault: it must not be answered
BAD: dict[str | bytes, tuple[str | None, Fault | None]] = {
    "": (None, None),
    " \r\n": (None, None),
    "not json": (None, Fault.RPC),
    "{}": (None, Fault.RPC),
    "2": (None, Fault.RPC),
    "[]": (None, Fault.RPC),
    "[,{": (None, Fault.RPC),
    "[" * 3000: (None, Fault.RPC),
    '[2,"1","Heartbeat",' + '{"a":' * 3000: (None, Fault.RPC),
    '[2,"1","Heartbeat",' + "[" * 40 + "]" * 40 + "]": ("1", Fault.RPC),
    '[2,"1",["x"],{}]': ("1", Fault.RPC),
    '[2,"1",{"x":1},{}]': ("1", Fault.RPC),
    '[2,"1",null,{}]': ("1", Fault.RPC),
    '[2,"1","Heartbeat"]': ("1", Fault.RPC),
    '[2,"1","Heartbeat",{},{}]': ("1", Fault.RPC),
    '[2,"1"]': ("1", Fault.RPC),
    "[2]": (None, Fault.RPC),
    '[2,["1"],"Heartbeat",{}]': (None, Fault.RPC),
    '[2,true,"Heartbeat",{}]': (None, Fault.RPC),
    '[2,null,"Heartbeat",{}]': (None, Fault.RPC),
    f'[2,"{"x" * 300}","Heartbeat",{{}}]': (None, Fault.RPC),
    '[9,"1"]': ("1", Fault.MESSAGE_TYPE),
    '[5,"1","Heartbeat",{}]': ("1", Fault.MESSAGE_TYPE),
    '["2","1","Heartbeat",{}]': ("1", Fault.MESSAGE_TYPE),
    '[true,"1"]': ("1", Fault.MESSAGE_TYPE),
    '[[],"1"]': ("1", Fault.MESSAGE_TYPE),
    "[null]": (None, Fault.MESSAGE_TYPE),
    '[3,"1"]': ("1", None),
    '[3,"1","Accepted"]': ("1", None),
    '[3,"1",{},{}]': ("1", None),
    "[3,{},{}]": (None, None),
    "[4]": (None, None),
}


@pytest.mark.parametrize(("text", "frame"), GOOD.items(), ids=[text[:40] for text in GOOD])
def test_a_readable_frame_is_read(text: str, frame: object) -> None:
    assert parse(text) == frame
    assert parse(text.encode()) == frame


NEARLY: dict[str | bytes, object] = {
    '[2,"1","Heartbeat",{"a":NaN}]': "NaN",
    '[2,"1","Heartbeat",{"a":-Infinity}]': "-Infinity",
    '[2,"1","Heartbeat",{"a":1e999}]': "1e999",
    b'[2,"1","Heartbeat",{"a":"\xff"}]': "\ufffd",
    '[2,"1","Heartbeat",{"a":"\\ud800"}]': "?",
    '[2,"1","Heartbeat",{"a":"x\ty"}]': "x\ty",
}


@pytest.mark.parametrize(("text", "value"), NEARLY.items(), ids=[repr(text) for text in NEARLY])
def test_a_frame_that_is_nearly_json_is_read_so_that_nothing_else_in_it_is_lost(
    text: str | bytes, value: object
) -> None:
    call = parse(text)
    assert isinstance(call, Call)
    assert (call.message_id, call.action, call.payload) == ("1", "Heartbeat", {"a": value})


@pytest.mark.parametrize(("text", "expected"), BAD.items(), ids=[repr(text[:40]) for text in BAD])
def test_a_bad_frame_is_named_and_its_id_saved(text: str | bytes, expected: tuple[str | None, Fault | None]) -> None:
    frame = parse(text)
    assert isinstance(frame, Malformed)
    assert (frame.message_id, frame.fault) == expected
    assert frame.reason


@pytest.mark.parametrize("text", BAD)
def test_a_bad_frame_is_answered_as_its_version_wants(text: str | bytes) -> None:
    bad = parse(text)
    assert isinstance(bad, Malformed)
    old, new = (reply_to_malformed(bad, version) for version in (Version.V16, Version.V201))
    if bad.fault is None:
        assert old is None
        assert new is None
        return
    assert new is not None
    kind, message_id, code, description, details = json.loads(new)
    assert (kind, message_id, details) == (4, bad.message_id or "-1", {})
    assert code == ("MessageTypeNotSupported" if bad.fault is Fault.MESSAGE_TYPE else "RpcFrameworkError")
    assert description
    if bad.fault is Fault.MESSAGE_TYPE or bad.message_id is None:
        assert old is None  # 1.6 ignores unknown types and has no id for the unreadable
    else:
        assert old is not None
        assert json.loads(old)[:3] == [4, bad.message_id, "FormationViolation"]


def test_reasons_are_few_whatever_comes() -> None:
    """They are counted by their words; a charger that could make up new ones would fill the memory."""
    arrays = [[kind, "id", "Heartbeat", {}, *range(more)] for more in range(1, 200) for kind in (2, 3)]
    found = [parse(json.dumps(array)) for array in arrays]
    assert len({one.reason for one in found if isinstance(one, Malformed)}) == 2


def test_the_error_code_of_a_malformed_frame_is_spelt_per_version() -> None:
    bad = parse('[9,"1"]')
    assert isinstance(bad, Malformed)
    assert bad.error_code(Version.V201) == "MessageTypeNotSupported"
    silent = parse("")
    assert isinstance(silent, Malformed)
    assert silent.error_code(Version.V201) is None


def test_each_version_spells_its_error_codes_its_own_way() -> None:
    assert ERROR_CODES[Version.V16][Fault.FORMATION] == "FormationViolation"
    assert ERROR_CODES[Version.V201][Fault.FORMATION] == "FormatViolation"
    assert ERROR_CODES[Version.V16][Fault.OCCURRENCE] == "OccurenceConstraintViolation"
    assert ERROR_CODES[Version.V201][Fault.OCCURRENCE] == "OccurrenceConstraintViolation"
    assert all(codes.keys() == set(Fault) for codes in ERROR_CODES.values())


def test_the_error_codes_are_those_of_the_ocpp_library() -> None:
    from ocpp.exceptions import OCPPError

    known = {error.code for error in OCPPError.__subclasses__()}
    unknown_there = {"RpcFrameworkError", "MessageTypeNotSupported"}  # of 2.0.1 Part 4, table 9
    for codes in ERROR_CODES.values():
        assert set(codes.values()) - unknown_there <= known


def test_a_numeric_id_is_echoed_as_a_number() -> None:
    call = parse('[2,17,"Heartbeat",{}]')
    assert isinstance(call, Call)
    assert encode_result(call.echo, b"{}") == b"[3,17,{}]"


def test_what_we_send_is_compact_and_keeps_the_order_of_members() -> None:
    frame = encode_call("u-1", "SetChargingProfile", {"b": 1, "a": [1, {"z": None}], "limit": Decimal("12.10")})
    assert frame == b'[2,"u-1","SetChargingProfile",{"b":1,"a":[1,{"z":null}],"limit":12.10}]'
    assert encode_result(b'"1"', {"x": "é"}) == '[3,"1",{"x":"é"}]'.encode()
    assert encode_error(b'"1"', "GenericError") == b'[4,"1","GenericError","",{}]'


def test_a_long_description_is_cut_to_what_the_protocol_allows() -> None:
    assert len(json.loads(encode_error(b'"1"', "GenericError", "é" * 500))[3]) == 255


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(st.binary() | st.text())
def test_no_bytes_whatever_make_it_raise(data: bytes | str) -> None:
    assert isinstance(parse(data), Call | Result | Error | Malformed)


@given(st.lists(anything, max_size=6), st.sampled_from([2, 3, 4, 5]))
def test_no_array_whatever_makes_it_raise(items: list[object], kind: int) -> None:
    frame = parse(json.dumps([kind, *items]))
    assert isinstance(frame, Call | Result | Error | Malformed)
    for version in Version:
        if isinstance(frame, Malformed):
            reply = reply_to_malformed(frame, version)
            assert reply is None or isinstance(parse(reply), Error)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=36)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner) | st.dictionaries(words, inner),
    max_leaves=12,
)


@given(words, st.dictionaries(words, plain, max_size=3))
def test_what_is_written_can_be_read_again(message_id: str, payload: dict[str, object]) -> None:
    call = parse(encode_call(message_id, "DataTransfer", payload))
    assert call == Call(message_id, "DataTransfer", payload, encode_id(message_id))
