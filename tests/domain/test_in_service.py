"""When a charger has forgotten that something of it is wanted out of service."""

from __future__ import annotations

import pytest

from csms.domain.connector import Socket
from csms.domain.in_service import AGAIN_AFTER_MS, WHOLE, Part, Wanted, is_operative, tell_again_at
from csms.domain.reported import SocketStatus

K = SocketStatus
ANSWERED = 1_000_000
BOOT = ANSWERED + 5_000


def socket(evse: int, connector: int, status: SocketStatus | None, heard_ms: int = 0) -> Socket:
    return Socket(evse, connector, status, received_ms=heard_ms)


@pytest.mark.parametrize(
    ("part", "statuses", "operative"),
    [
        ((1, 1), {(1, 1): K.AVAILABLE}, True),
        ((1, 1), {(1, 1): K.CHARGING}, True),
        ((1, 1), {(1, 1): K.UNAVAILABLE}, False),
        ((1, 1), {(1, 1): K.FAULTED}, None),
        ((1, 1), {(2, 1): K.AVAILABLE}, None),
        ((1, 0), {(1, 1): K.UNAVAILABLE, (1, 2): K.AVAILABLE}, True),
        ((1, 0), {(1, 1): K.UNAVAILABLE, (1, 2): K.FAULTED}, False),
        ((1, 0), {(1, 1): K.UNAVAILABLE, (2, 1): K.AVAILABLE}, False),
        (WHOLE, {(1, 1): K.UNAVAILABLE, (2, 1): K.AVAILABLE}, True),
        (WHOLE, {(1, 1): K.UNAVAILABLE, (2, 1): K.UNAVAILABLE}, False),
        (WHOLE, {(0, 0): K.UNAVAILABLE, (1, 1): K.AVAILABLE}, False),  # 1.6: the charger itself says it
        (WHOLE, {(0, 0): K.AVAILABLE}, None),
        (WHOLE, {}, None),
    ],
)
def test_a_part_is_in_service_when_any_socket_of_it_is(
    part: Part, statuses: dict[Part, SocketStatus], operative: bool | None
) -> None:
    assert is_operative(part, [socket(*place, status) for place, status in statuses.items()]) is operative


def again(
    *sockets: Socket, answer: str | None = "Accepted", operative: bool = False, boot_ms: int | None = None,
    busy: bool = False,
) -> int | None:  # fmt: skip
    wanted = Wanted(part=(1, 1), operative=operative, answer=answer, answered_ms=ANSWERED if answer else None)
    return tell_again_at(wanted, sockets, boot_ms=boot_ms, is_busy=busy)


AVAILABLE = socket(1, 1, K.AVAILABLE, BOOT + 1)
UNAVAILABLE = socket(1, 1, K.UNAVAILABLE, BOOT + 1)


def test_what_is_as_wanted_is_left_alone() -> None:
    assert again(UNAVAILABLE) is None
    assert again(UNAVAILABLE, boot_ms=BOOT) is None
    assert again(AVAILABLE, operative=True, boot_ms=BOOT) is None


@pytest.mark.parametrize("answer", [None, "Rejected"])
def test_what_was_never_promised_is_not_asked_again(answer: str | None) -> None:
    assert again(AVAILABLE, answer=answer, boot_ms=BOOT) is None


def test_a_charger_that_has_just_agreed_gets_its_time() -> None:
    assert again(AVAILABLE) == ANSWERED + AGAIN_AFTER_MS
    assert again(AVAILABLE, answer="Scheduled") == ANSWERED + AGAIN_AFTER_MS


def test_a_boot_that_forgot_it_is_told_at_once_and_so_is_one_that_has_not_said() -> None:
    assert again(AVAILABLE, boot_ms=BOOT) == BOOT
    assert again(socket(1, 1, K.UNAVAILABLE, BOOT - 1), boot_ms=BOOT) == BOOT
    assert again(boot_ms=BOOT) == BOOT


def test_nothing_is_told_while_a_transaction_holds_the_socket_or_a_fault_hides_it() -> None:
    assert again(AVAILABLE, boot_ms=BOOT, busy=True) is None
    assert again(socket(1, 1, K.FAULTED, BOOT + 1), boot_ms=BOOT) is None
