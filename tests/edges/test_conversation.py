"""The conversation: a rude charger, played by Hypothesis, against what must and must not happen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from csms.edges.ocppj.codes import Fault, Version
from csms.edges.ocppj.session import (
    ALWAYS_FRESH,
    LONGEST_QUEUE,
    Answered,
    Asked,
    Conversation,
    DuplicateCall,
    Event,
    Expired,
    Garbled,
    LateAnswer,
    LinkLost,
    Outcome,
    Priority,
    QueueFull,
    Refused,
    Settled,
    TimedOut,
)


def call(message_id: str, action: str, payload: dict[str, Any] | None = None) -> bytes:
    return json.dumps([2, message_id, action, payload or {}]).encode()


def result(message_id: str, payload: dict[str, Any] | None = None) -> bytes:
    return json.dumps([3, message_id, payload or {}]).encode()


class RudeCharger(RuleBasedStateMachine):
    """Every rule does something to the conversation and says, from a naive model, all that must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000
        self.minted = 0
        self.waiting: list[tuple[Priority, int, str, int | None, int]] = []
        self.air: tuple[str, int] | None = None
        self.timed_out: list[str] = []  # no answer yet
        self.done: list[str] = []  # answered, in time or late
        self.outcomes: dict[str, list[Outcome]] = {}
        self.sent_calls: list[str] = []
        self.open: list[tuple[str, bytes]] = []
        self.answered: dict[str, tuple[bytes, bytes]] = {}

    @initialize(version=st.sampled_from(list(Version)))
    def connect(self, version: Version) -> None:
        self.talk = Conversation(version, remember=1000)

    # What must follow

    def expect(self, events: list[Event], *expected: Event, sent: tuple[bytes, ...] = ()) -> None:
        """`events` and what is to be sent are exactly what was expected, and then what the free air lets go."""
        wanted = list(expected)
        frames = list(sent)
        self.waiting.sort()
        while self.air is None and self.waiting:
            priority, _, message_id, expires, timeout = self.waiting.pop(0)
            if expires is not None and self.now >= expires:
                wanted.append(Settled(message_id, Expired()))
                continue
            self.air = (message_id, self.now + timeout)
            frames.append(call(message_id, "Reset"))
            assert expires is None or self.now < expires
            assert not any(other[0] < priority for other in self.waiting)
        assert sorted(map(repr, events)) == sorted(map(repr, wanted))
        got = self.talk.data_to_send()
        assert [json.loads(frame) for frame in got] == [json.loads(frame) for frame in frames]
        self.sent_calls += [json.loads(frame)[1] for frame in got if json.loads(frame)[0] == 2]
        for event in events:
            if isinstance(event, Settled):
                self.outcomes.setdefault(event.message_id, []).append(event.outcome)

    @invariant()
    def at_most_one_call_of_ours_is_in_the_air(self) -> None:
        unanswered = [message_id for message_id in self.sent_calls if message_id not in self.done + self.timed_out]
        assert len(unanswered) <= 1
        assert unanswered == ([self.air[0]] if self.air else [])

    @invariant()
    def every_call_has_one_outcome_and_at_most_a_late_answer(self) -> None:
        for message_id, outcomes in self.outcomes.items():
            assert len(outcomes) == 1 or (
                len(outcomes) == 2 and outcomes[0] == TimedOut() and isinstance(outcomes[1], LateAnswer)
            )
            if outcomes[0] == Expired():
                assert message_id not in self.sent_calls

    @invariant()
    def the_next_deadline_is_never_missed(self) -> None:
        times = [expires for _, _, _, expires, _ in self.waiting if expires is not None]
        if self.air:
            times.append(self.air[1])
        assert getattr(self, "talk", None) is None or self.talk.next_deadline() == min(times, default=None)

    # Ours

    @rule(
        priority=st.sampled_from(list(Priority)),
        ttl=st.none() | st.integers(0, 50),
        timeout=st.integers(1, 40),
    )
    def we_call(self, priority: Priority, ttl: int | None, timeout: int) -> None:
        self.minted += 1
        message_id = f"ours-{self.minted}"
        expires = None if ttl is None else self.now + ttl
        self.waiting.append((priority, self.minted, message_id, expires, timeout))
        self.expect(
            self.talk.call(
                message_id,
                "Reset",
                {},
                now_ms=self.now,
                timeout_ms=timeout,
                priority=priority,
                expires_ms=expires,
            )
        )

    @rule(step=st.integers(0, 30))
    def time_passes(self, step: int) -> None:
        self.now += step
        expected: list[Event] = []
        if self.air is not None and self.now >= self.air[1]:
            expected.append(Settled(self.air[0], TimedOut()))
            self.timed_out.append(self.air[0])
            self.air = None
        gone = [entry for entry in self.waiting if entry[3] is not None and self.now >= entry[3]]
        expected += [Settled(entry[2], Expired()) for entry in gone]
        self.waiting = [entry for entry in self.waiting if entry not in gone]
        self.expect(self.talk.tick(self.now), *expected)

    @precondition(lambda self: self.air)
    @rule(refused=st.booleans())
    def the_charger_answers(self, refused: bool) -> None:
        assert self.air
        message_id, self.air = self.air[0], None
        self.done.append(message_id)
        if refused:
            text = json.dumps([4, message_id, "NotSupported", "no", {}]).encode()
            self.expect(self.talk.receive(text, self.now), Settled(message_id, Refused("NotSupported", "no", {})))
        else:
            self.expect(
                self.talk.receive(result(message_id, {"status": "Accepted"}), self.now),
                Settled(message_id, Answered({"status": "Accepted"})),
            )

    @precondition(lambda self: self.timed_out)
    @rule(data=st.data())
    def the_charger_answers_late(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(self.timed_out[-20:]))
        self.timed_out.remove(message_id)
        self.done.append(message_id)
        self.expect(
            self.talk.receive(result(message_id, {"late": 1}), self.now),
            Settled(message_id, LateAnswer(Answered({"late": 1}))),
        )

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def the_charger_answers_again(self, data: st.DataObject) -> None:
        before = self.talk.tally.answers_doubled
        self.expect(self.talk.receive(result(data.draw(st.sampled_from(self.done[-10:]))), self.now))
        assert self.talk.tally.answers_doubled == before + 1

    @rule()
    def the_charger_answers_what_nobody_asked(self) -> None:
        before = self.talk.tally.answers_unknown
        self.expect(self.talk.receive(result("nobody"), self.now))
        assert self.talk.tally.answers_unknown == before + 1

    # Theirs; these cross our call in the air whenever there is one

    @rule(
        message_id=st.sampled_from("abc"),
        action=st.sampled_from(["StartTransaction", "Heartbeat"]),
        number=st.integers(0, 1),
    )
    def the_charger_asks(self, message_id: str, action: str, number: int) -> None:
        text = call(message_id, action, {"n": number})
        events = self.talk.receive(text, self.now)
        fresh = action in ALWAYS_FRESH
        is_open = any(entry[0] == message_id for entry in self.open)
        if (message_id, text) in self.open and not fresh:
            self.expect(events)
            return
        remembered = None if is_open else self.answered.get(message_id)
        if remembered is not None and remembered[0] == text:
            self.expect(events, sent=(remembered[1],))
            return
        assert len(events) == 1
        asked = events[0]
        assert isinstance(asked, Asked)
        assert (asked.call.message_id, asked.call.action, asked.call.payload) == (message_id, action, {"n": number})
        if not is_open:
            self.answered.pop(message_id, None)
        self.open.append((message_id, text))
        self.expect([])

    @precondition(lambda self: self.open)
    @rule(data=st.data(), refuse=st.booleans())
    def we_answer(self, data: st.DataObject, refuse: bool) -> None:
        message_id = data.draw(st.sampled_from([entry[0] for entry in self.open]))
        text = next(entry[1] for entry in self.open if entry[0] == message_id)
        self.open.remove((message_id, text))
        self.minted += 1
        if refuse:
            frame = self.talk.refuse(message_id, Fault.INTERNAL, "oops")
            assert frame is not None
            assert json.loads(frame)[:3] == [4, message_id, "InternalError"]
            return
        frame = self.talk.answer(message_id, {"n": self.minted})
        assert frame is not None
        assert json.loads(frame) == [3, message_id, {"n": self.minted}]
        if json.loads(text)[2] not in ALWAYS_FRESH:
            self.answered[message_id] = (text, frame)

    @invariant()
    def what_is_open_is_counted(self) -> None:
        assert not hasattr(self, "talk") or self.talk.open_questions == len(self.open)

    @rule(message_id=st.sampled_from("xyz"))
    def we_answer_what_nobody_asked(self, message_id: str) -> None:
        assert self.talk.answer(message_id, {}) is None

    @rule(text=st.sampled_from(["", "junk", "[[[", '[2,"1"]', '[3,"1"]', '[9,"1"]']))
    def the_charger_babbles(self, text: str) -> None:
        events = self.talk.receive(text.encode(), self.now)
        assert len(events) == 1
        assert isinstance(events[0], Garbled)
        frames = self.talk.data_to_send()
        assert all(json.loads(frame)[0] == 4 for frame in frames)
        self.expect([])

    @rule()
    def the_socket_breaks(self) -> None:
        expected = [Settled(self.air[0], LinkLost(sent=True))] if self.air else []
        self.waiting.sort()
        expected += [Settled(entry[2], LinkLost(sent=False)) for entry in self.waiting]
        assert self.talk.lost() == expected
        for settled in expected:
            assert isinstance(settled.outcome, LinkLost)
            self.outcomes.setdefault(settled.message_id, []).append(settled.outcome)
        assert self.talk.data_to_send() == []
        self.talk = Conversation(self.talk.version, remember=1000)
        self.waiting, self.air, self.open, self.answered = [], None, [], {}
        self.timed_out, self.done, self.sent_calls, self.outcomes = [], [], [], {}


TestRudeCharger = RudeCharger.TestCase
TestRudeCharger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.fixture
def talk() -> Conversation:
    return Conversation(Version.V16)


def test_a_stop_overtakes_everything_that_waits(talk: Conversation) -> None:
    for number, priority in enumerate(reversed(Priority)):
        talk.call(f"{number}", "Reset", {}, now_ms=0, timeout_ms=10, priority=priority)
    order = [json.loads(talk.data_to_send()[0])[1]]
    while talk.in_the_air is not None:
        talk.receive(result(talk.in_the_air), 1)
        order += [json.loads(frame)[1] for frame in talk.data_to_send()]
    assert order == ["0", "5", "4", "3", "2", "1"]  # the first had the air to itself


def test_equal_priorities_keep_their_order(talk: Conversation) -> None:
    for name in "abcd":
        talk.call(name, "Reset", {}, now_ms=0, timeout_ms=10)
    order = []
    while talk.in_the_air is not None:
        order.append(talk.in_the_air)
        talk.receive(result(talk.in_the_air), 1)
    assert order == list("abcd")


def test_a_start_that_waited_too_long_never_runs(talk: Conversation) -> None:
    talk.call("slow", "Reset", {}, now_ms=0, timeout_ms=1000)
    talk.call("start", "RemoteStartTransaction", {}, now_ms=0, timeout_ms=10, expires_ms=500)
    talk.data_to_send()
    events = talk.receive(result("slow"), 600)  # nobody called tick in between
    assert events == [Settled("slow", Answered({})), Settled("start", Expired())]
    assert talk.data_to_send() == []


def test_a_timeout_starts_when_the_call_leaves_not_when_it_is_queued(talk: Conversation) -> None:
    talk.call("a", "Reset", {}, now_ms=0, timeout_ms=100)
    talk.call("b", "Reset", {}, now_ms=0, timeout_ms=100)
    talk.receive(result("a"), 90)
    assert talk.tick(150) == []
    assert talk.next_deadline() == 190
    assert talk.tick(190) == [Settled("b", TimedOut())]


@pytest.mark.parametrize("frame", ['[3,"u1",[]]', '[3,"u1","Accepted"]', '[3,"u1"]', '[3,"u1",{},{}]'])
def test_a_result_nobody_can_read_keeps_no_later_call_waiting(talk: Conversation, frame: str) -> None:
    talk.call("u1", "Reset", b"{}", now_ms=0, timeout_ms=100, priority=Priority.CONFIG)
    talk.call("u2", "ClearCache", b"{}", now_ms=0, timeout_ms=100, priority=Priority.CONFIG)
    assert len(talk.data_to_send()) == 1
    garbled, settled = talk.receive(frame.encode(), 1)
    assert isinstance(garbled, Garbled)
    assert settled == Settled("u1", Answered({}))
    assert [json.loads(sent)[1] for sent in talk.data_to_send()] == ["u2"]


def test_a_used_id_is_never_used_again(talk: Conversation) -> None:
    talk.call("a", "Reset", {}, now_ms=0, timeout_ms=100)
    with pytest.raises(DuplicateCall):
        talk.call("a", "Reset", {}, now_ms=0, timeout_ms=100)
    talk.receive(result("a"), 1)
    with pytest.raises(DuplicateCall):
        talk.call("a", "Reset", {}, now_ms=0, timeout_ms=100)


def test_the_queue_is_bounded(talk: Conversation) -> None:
    for number in range(LONGEST_QUEUE + 1):  # one is in the air
        talk.call(f"{number}", "Reset", {}, now_ms=0, timeout_ms=100)
    with pytest.raises(QueueFull):
        talk.call("more", "Reset", {}, now_ms=0, timeout_ms=100)


def test_a_repeated_start_gets_the_same_transaction(talk: Conversation) -> None:
    start = call("7", "StartTransaction", {"connectorId": 1})
    assert len(talk.receive(start, 0)) == 1
    frame = talk.answer("7", {"transactionId": 42})
    assert talk.receive(start, 5) == []
    assert talk.data_to_send() == [frame]
    assert talk.tally.repeats_replayed == 1


def test_a_repeat_before_the_answer_is_answered_once(talk: Conversation) -> None:
    start = call("7", "StartTransaction")
    assert len(talk.receive(start, 0)) == 1
    assert talk.receive(start, 1) == []
    assert talk.answer("7", {}) == b'[3,"7",{}]'
    assert talk.answer("7", {}) is None
    assert talk.tally.answers_unasked == 1


def test_a_refused_question_may_be_asked_again(talk: Conversation) -> None:
    start = call("7", "StartTransaction")
    talk.receive(start, 0)
    talk.refuse("7", Fault.INTERNAL)
    assert len(talk.receive(start, 1)) == 1


@pytest.mark.parametrize("action", sorted(ALWAYS_FRESH))
def test_a_constant_message_id_never_gets_a_stale_clock_or_permission(talk: Conversation, action: str) -> None:
    for turn in range(3):
        assert len(talk.receive(call("1", action), turn)) == 1
        assert talk.answer("1", {"turn": turn}) == b'[3,"1",{"turn":%d}]' % turn


def test_remembered_answers_are_bounded_in_number_and_size() -> None:
    talk = Conversation(Version.V16, remember=2)
    for name in "abc":
        talk.receive(call(name, "DataTransfer"), 0)
        talk.answer(name, {})
    assert len(talk.receive(call("a", "DataTransfer"), 0)) == 1  # forgotten, so new
    assert talk.receive(call("c", "DataTransfer"), 0) == []
    talk.receive(call("d", "DataTransfer"), 0)
    talk.answer("d", {"data": "x" * 100_000})
    assert len(talk.receive(call("d", "DataTransfer"), 0)) == 1


def test_a_numeric_id_is_echoed_as_it_came(talk: Conversation) -> None:
    talk.receive(b'[2,17,"StatusNotification",{}]', 0)
    assert talk.answer("17", b"{}") == b"[3,17,{}]"
    talk.receive(b'[2,"17","Heartbeat",{}]', 0)
    assert talk.answer("17", b"{}") == b'[3,"17",{}]'


def test_an_id_that_needs_escapes_is_echoed_with_them(talk: Conversation) -> None:
    talk.receive(b'[2,"a\\n\\"b","Heartbeat",{}]', 0)
    assert talk.answer('a\n"b', b"{}") == b'[3,"a\\n\\"b",{}]'


def test_an_unknown_message_type_is_answered_only_by_201() -> None:
    old, new = Conversation(Version.V16), Conversation(Version.V201)
    for talk in (old, new):
        talk.receive(b'[5,"1",{}]', 0)
        assert talk.tally.unknown_type == 1
    assert old.data_to_send() == []
    assert json.loads(new.data_to_send()[0])[:3] == [4, "1", "MessageTypeNotSupported"]
