"""One firmware update at one charger: statuses that come late, twice or never, reboots in between, and the proof."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.domain.firmware import (
    OPEN,
    UNDER_WAY,
    Job,
    Orders,
    Selection,
    State,
    answered,
    asked,
    booted,
    cancelled,
    expired,
    not_answered,
    should_stop,
    told,
)

S = State
ORDERS = Orders(window_ms=1000, tries=2, retry_ms=100)
NEW = Job("2.0")


def begun(at_ms: int = 0, request_id: int = 1, before: str = "1.0") -> Job:
    return asked(NEW, at_ms, ORDERS, request_id=request_id, before=before)


def after(job: Job, *words: str, request_id: int | None = None) -> Job:
    for word in words:
        job = told(job, word, 10, ORDERS, request_id=request_id)
    return job


@pytest.mark.parametrize(
    ("words", "state"),
    [
        # 1.6
        (("Downloading",), S.DOWNLOADING),
        (("Downloading", "Downloaded", "Installing"), S.INSTALLING),
        (("Downloading", "Downloaded", "Installing", "Installed"), S.INSTALLED),
        # 2.0.1 and 1.6 signed
        (("DownloadScheduled",), S.ASKED),
        (("Downloading", "DownloadPaused"), S.DOWNLOADING),
        (("Downloading", "Downloaded", "SignatureVerified", "InstallScheduled"), S.DOWNLOADED),
        (("Downloaded", "SignatureVerified", "InstallScheduled", "InstallRebooting"), S.INSTALLING),
        # missing, repeated, late
        (("Installed",), S.INSTALLED),
        (("Installing", "Installing"), S.INSTALLING),
        (("Installing", "Downloading", "Downloaded"), S.INSTALLING),
        (("Installed", "Downloading", "Installing", "InstallationFailed"), S.INSTALLED),
        (("Downloading", "Idle", "Sideways"), S.DOWNLOADING),
        # failures
        (("Downloading", "DownloadFailed"), S.WAITING),
        (("Downloading", "DownloadFailed", "DownloadFailed"), S.WAITING),
        (("Downloading", "DownloadFailed", "Downloading"), S.DOWNLOADING),  # it tries again by itself
        (("Downloaded", "InvalidSignature"), S.FAILED),
        (("Downloaded", "InstallVerificationFailed"), S.FAILED),
        (("Downloaded", "InvalidSignature", "Installed"), S.INSTALLED),
    ],
)
def test_what_statuses_make_of_it(words: tuple[str, ...], state: State) -> None:
    assert after(begun(), *words).state is state


def test_failures_are_counted_in_attempts_and_each_wait_is_longer() -> None:
    job = after(begun(), "DownloadFailed")
    assert (job.state, job.due_ms, job.detail) == (S.WAITING, 10 + 100, "the charger told DownloadFailed")
    job = after(asked(job, 200, ORDERS, request_id=2, before="1.0"), "DownloadFailed", request_id=1)
    assert job.state is S.ASKED  # the failure of the first attempt, once more
    job = after(job, "Downloading", "DownloadFailed", request_id=2)
    assert (job.state, job.attempts, job.requests) == (S.FAILED, 2, (1, 2))


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Accepted", S.ASKED),
        ("AcceptedCanceled", S.ASKED),
        ("Rejected", S.WAITING),
        ("InternalError", S.WAITING),
        ("InvalidCertificate", S.FAILED),
        ("RevokedCertificate", S.FAILED),
        ("NotImplemented", S.FAILED),
    ],
)
def test_the_answer_to_the_request(word: str, state: State) -> None:
    job = answered(begun(), word, 5, ORDERS)
    assert (job.state, job.status) == (state, word)
    assert answered(job, word, 6, ORDERS) == job  # heard twice: by the errand and by the reader of answers


def test_a_notice_that_is_quicker_than_the_answer_counts() -> None:
    for word in ("DownloadScheduled", "Downloading"):
        job = after(begun(), word)
        assert answered(job, "Accepted", 20, ORDERS) == job


def test_silence_is_tried_again_and_then_the_end() -> None:
    job = begun()
    assert expired(job, 999, ORDERS) == job
    job = expired(job, 1000, ORDERS)
    assert (job.state, job.detail) == (S.WAITING, "nothing was heard after the request")
    job = after(asked(job, 2000, ORDERS, request_id=2, before="1.0"), "Downloading")
    job = expired(job, job.due_ms, ORDERS)
    assert (job.state, job.detail) == (S.FAILED, "nothing was heard after Downloading")
    unsure = not_answered(begun(), 0)
    assert (unsure.state, unsure.due_ms) == (S.ASKED, 120_000)
    assert after(unsure, "Downloading").state is S.DOWNLOADING


def test_waiting_for_its_time_is_no_silence() -> None:
    orders = replace(ORDERS, install_ms=50_000)
    job = told(asked(NEW, 0, orders, request_id=1, before="1.0"), "InstallScheduled", 10, orders)
    assert job.due_ms > 50_000 + 1000


@pytest.mark.parametrize(
    ("words", "version", "state", "is_proven"),
    [
        (("Downloading", "Downloaded", "Installing"), "2.0", S.INSTALLED, True),  # and never a word of Installed
        ((), "2.0", S.INSTALLED, True),
        (("Downloading", "DownloadFailed"), "2.0", S.INSTALLED, True),
        (("Downloaded", "InvalidSignature"), "2.0", S.INSTALLED, True),
        (("Installed",), "2.0", S.INSTALLED, True),
        (("Installed",), "1.0", S.FAILED, False),  # claimed, and not so
        (("Installed",), "2.0-rc", S.INSTALLED, False),  # named otherwise: nobody can tell
        (("Downloading",), "1.0", S.DOWNLOADING, False),  # power went, it goes on
        (("Installing",), "1.0", S.INSTALLING, False),
        (("Installing",), None, S.INSTALLING, False),
    ],
)
def test_what_the_next_boot_proves(words: tuple[str, ...], version: str | None, state: State, is_proven: bool) -> None:
    job = booted(after(begun(), *words), version)
    assert (job.state, job.is_proven) == (state, is_proven)
    assert booted(job, version) == job


def test_installing_the_same_version_again_is_proven_by_a_boot_after_the_installation_only() -> None:
    job = begun(before="2.0")
    assert booted(job, "2.0").state is S.ASKED
    assert booted(after(job, "Installing"), "2.0").is_proven


def test_a_boot_before_anything_was_asked_proves_nothing() -> None:
    assert booted(NEW, "2.0") == NEW
    assert told(NEW, "Installed", 0, ORDERS) == NEW


STEPS = st.one_of(
    st.sampled_from(
        [
            "Downloading", "Downloaded", "DownloadFailed", "Installing", "Installed", "InstallationFailed", "Idle",
            "InvalidSignature", "InstallVerificationFailed", "DownloadScheduled", "InstallRebooting", "?",
        ]
    ).map(lambda word: ("told", word)),
    st.sampled_from(["Accepted", "Rejected", "InvalidCertificate", "AcceptedCanceled"]).map(lambda w: ("answered", w)),
    st.sampled_from(["1.0", "2.0", "3.0"]).map(lambda version: ("booted", version)),
    st.sampled_from([("expired", ""), ("asked", ""), ("silent", ""), ("cancelled", "")]),
)  # fmt: skip


@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_it_is_asked_no_more_than_it_may_and_ends(steps: list[tuple[str, str]]) -> None:
    job, now_ms = NEW, 0
    for kind, word in steps:
        now_ms += 10_000_000  # beyond every deadline
        before = job
        match kind:
            case "asked" if job.state is S.WAITING and job.due_ms <= now_ms:
                job = asked(job, now_ms, ORDERS, request_id=job.attempts + 1, before="1.0")
            case "told":
                job = told(job, word, now_ms, ORDERS)
            case "answered":
                job = answered(job, word, now_ms, ORDERS)
            case "booted":
                job = booted(job, word)
            case "expired":
                job = expired(job, now_ms, ORDERS)
            case "silent":
                job = not_answered(job, now_ms)
            case "cancelled":
                job = cancelled(job, "an operator")
        assert job.attempts <= ORDERS.tries
        assert (job.state in OPEN) != job.is_over
        if before.is_proven and kind != "asked":
            assert job.state is S.INSTALLED
        if before.state is S.CANCELLED:
            assert job == before
        if before.is_over and not job.is_over:
            raise AssertionError(f"{before} came back as {job}")
    for _ in range(5):  # and without further news it is over, or waits for an attempt that it still has
        now_ms = max(now_ms, job.due_ms) + 1
        job = expired(job, now_ms, ORDERS)
    assert job.state not in UNDER_WAY
    assert job.state is not S.WAITING or job.attempts < ORDERS.tries


def test_orders_are_read_as_they_were_written() -> None:
    orders = replace(ORDERS, retrieve_ms=5, replaces=True, stop_after=7)
    assert Orders.from_row(orders.as_row()) == orders
    assert Orders.from_row({"tries": 9, "of_another_version": 1}) == Orders(tries=9)


@pytest.mark.parametrize(("stop_after", "failed", "stops"), [(0, 9, False), (3, 2, False), (3, 3, True), (1, 1, True)])
def test_when_a_campaign_stops(stop_after: int, failed: int, stops: bool) -> None:
    assert should_stop(replace(ORDERS, stop_after=stop_after), failed) is stops


STATION = {"id": "A", "location_id": "SITE", "vendor": "Maker", "model": "Box 1", "firmware": "1.4"}


@pytest.mark.parametrize(
    ("selection", "fits"),
    [
        (Selection(), True),
        (Selection(chargers=("A", "B")), True),
        (Selection(chargers=("B",)), False),
        (Selection(locations=("SITE",), vendor="maker", model="box*"), True),
        (Selection(locations=("OTHER",)), False),
        (Selection(firmware="1.?"), True),
        (Selection(firmware="2.*"), False),
        (Selection(vendor="Other"), False),
    ],
)
def test_whom_a_selection_means(selection: Selection, fits: bool) -> None:
    assert selection.fits(STATION, "2.0") is fits
    assert selection.fits({**STATION, "firmware": None}, "2.0") is (fits and selection.firmware is None)


def test_who_has_the_version_is_left_out_unless_told() -> None:
    assert not Selection().fits(STATION, "1.4")
    assert Selection(includes_same=True).fits(STATION, "1.4")
