"""The publisher's core: one in flight per subject, the latest value, a window, deadlines, refusals."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed.core.messages import Message, Refusal
from eventfed.core.outbox import Outbox
from eventfed.jetstream.acknowledgements import read_acknowledgement
from tests.ground.narrowing import present


@dataclass
class Value:
    """A publication whose value may change until it is sent."""

    subject: str
    value: int = 0
    urgent: bool = False
    again: bool = True
    stored_at: list[int] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def build(self) -> Message | None:
        return None if self.value < 0 else Message(str(self.value).encode())

    def stored(self, sequence: int) -> None:
        self.stored_at.append(sequence)

    def refused(self, refusal: Refusal) -> bool:
        self.refusals.append(refusal)
        return self.again


def outbox(window: int = 10) -> Outbox:
    return Outbox(window=window, deadline=3.0, pause=0.2)


def acknowledge(box: Outbox, token: str, sequence: int = 1, now: float = 0.0) -> None:
    box.answer(token, read_acknowledgement(json.dumps({"stream": "S", "seq": sequence}).encode(), None), now)


def test_a_second_value_waits_until_the_first_is_acknowledged() -> None:
    box, lamp = outbox(), Value("lamp", 1)
    box.put(lamp)
    [(token, subject, message)] = box.take(0)
    assert (subject, message.body) == ("lamp", b"1")
    lamp.value = 2
    box.put(lamp)
    assert box.take(0) == []
    acknowledge(box, token, 7)
    assert lamp.stored_at == [7]
    assert [message.body for _, _, message in box.take(0)] == [b"2"]


def test_the_value_sent_is_the_one_at_the_time_of_sending() -> None:
    box, lamp = outbox(window=1), Value("lamp", 1)
    box.put(Value("first"))
    box.put(lamp)
    [(token, *_)] = box.take(0)
    lamp.value = 5
    acknowledge(box, token)
    assert [message.body for _, _, message in box.take(0)] == [b"5"]


def test_what_has_nothing_to_say_any_more_is_not_sent() -> None:
    box = outbox()
    box.put(Value("lamp", -1))
    assert box.take(0) == []
    assert len(box) == 0


def test_leases_go_first() -> None:
    box = outbox()
    box.put(Value("state"))
    box.put(Value("lease", urgent=True))
    assert [subject for _, subject, _ in box.take(0)] == ["lease", "state"]


def test_no_more_than_the_window_is_in_flight() -> None:
    box = outbox(window=3)
    for number in range(5):
        box.put(Value(f"s{number}"))
    taken = box.take(0)
    assert len(taken) == 3
    acknowledge(box, taken[0][0])
    assert [subject for _, subject, _ in box.take(0)] == ["s3"]


def test_silence_until_the_deadline_sends_the_latest_value_again() -> None:
    box, lamp = outbox(), Value("lamp", 1)
    box.put(lamp)
    [(old, *_)] = box.take(0)
    assert box.next_time(1.0) == 2.0
    assert not box.expire(2.9)
    lamp.value = 2
    assert box.expire(3.0)
    [(new, _, message)] = box.take(3.0)
    assert message.body == b"2"
    acknowledge(box, old, 1, 3.1)
    assert (box.counters.late_answers, lamp.stored_at) == (1, [])
    acknowledge(box, new, 2, 3.2)
    assert (box.counters.unanswered, lamp.stored_at, len(box)) == (1, [2], 0)


def test_a_refusal_is_followed_by_a_pause_and_then_by_the_latest_value() -> None:
    box, lamp = outbox(), Value("lamp", 1)
    box.put(lamp)
    [(token, *_)] = box.take(0)
    box.answer(token, read_acknowledgement(b"", "503"), 0)
    assert lamp.refusals == [Refusal(503, "status 503 (no such stream, or JetStream is off)")]
    assert "JetStream is off" in " ".join(box.refusals.values())
    assert box.take(0.1) == []
    assert 0.1 <= present(box.next_time(0.1)) <= 0.2
    [(token, *_)] = box.take(0.3)
    acknowledge(box, token)
    assert not box.refusals


def test_a_failed_condition_says_what_stands_there_instead() -> None:
    box, marker = outbox(), Value("lamp", 1, again=False)
    box.put(marker)
    [(token, *_)] = box.take(0)
    error = {"code": 400, "err_code": 10071, "description": "wrong last sequence: 12"}
    box.answer(token, read_acknowledgement(json.dumps({"error": error}).encode(), None), 0)
    assert marker.refusals == [Refusal(400, "wrong last sequence: 12", 12)]
    assert (len(box), box.take(0), dict(box.refusals)) == (0, [], {})


def test_after_a_lost_connection_all_in_flight_is_sent_again() -> None:
    box = outbox()
    for name in ("a", "b"):
        box.put(Value(name))
    box.take(0)
    box.give_up_all()
    assert {subject for _, subject, _ in box.take(0)} == {"a", "b"}


def test_what_is_withdrawn_is_not_sent() -> None:
    box = outbox()
    box.put(Value("a"))
    box.withdraw("a")
    assert box.take(0) == []


@pytest.mark.parser
@given(st.binary(max_size=200), st.none() | st.text(max_size=5))
def test_any_answer_is_an_acknowledgement_or_a_refusal(body: bytes, status: str | None) -> None:
    box, lamp = outbox(), Value("lamp")
    box.put(lamp)
    [(token, *_)] = box.take(0)
    box.answer(token, read_acknowledgement(body, status), 0)
    assert len(lamp.refusals) + len(lamp.stored_at) == 1


@pytest.mark.parser
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from(["seq", "error", "code", "err_code", "description"]), inner),
        max_leaves=6,
    )
)
def test_any_json_answer_is_an_acknowledgement_or_a_refusal(answer: object) -> None:
    box, lamp = outbox(), Value("lamp")
    box.put(lamp)
    [(token, *_)] = box.take(0)
    box.answer(token, read_acknowledgement(json.dumps(answer).encode(), None), 0)
    assert len(lamp.refusals) + len(lamp.stored_at) == 1


@given(
    st.lists(st.tuples(st.sampled_from(["put", "ack", "silence", "refuse", "lost"]), st.integers(0, 3)), max_size=80)
)
def test_after_any_faults_the_last_value_of_each_subject_is_stored_last(script: list[tuple[str, int]]) -> None:
    box, now = outbox(window=2), 0.0
    values = [Value(f"s{index}") for index in range(4)]
    stream: dict[str, bytes] = {}
    flying: list[tuple[str, str, Message]] = []
    for number, (step, index) in enumerate(script, 1):
        now += 0.3
        if step == "put":
            values[index].value = number
            box.put(values[index])
        elif step == "silence":
            now += 3
            box.expire(now)
        elif step == "lost":
            box.give_up_all()
        elif flying:
            token, subject, message = flying.pop(index % len(flying))
            if step == "refuse":
                box.answer(token, read_acknowledgement(b"", "503"), now)
            elif token in box._flights:  # the server takes nothing from a connection that was given up
                stream[subject] = message.body
                acknowledge(box, token, number, now)
        new = box.take(now)
        subjects = [flight.entry.subject for flight in box._flights.values()]
        assert len(subjects) == len(set(subjects)) <= 2
        flying += new
    for _ in range(100):
        now += 4
        box.expire(now)
        for token, subject, message in box.take(now):
            stream[subject] = message.body
            acknowledge(box, token, 1, now)
    assert len(box) == 0
    assert all(stream[v.subject] == str(v.value).encode() for v in values if v.value)


def refuse(box: Outbox, token: str, now: float, text: str = "maximum bytes exceeded") -> None:
    error = {"code": 503, "err_code": 10077, "description": text}
    box.answer(token, read_acknowledgement(json.dumps({"error": error}).encode(), None), now)


def test_what_is_refused_delays_no_other_value() -> None:
    box, now = outbox(), 0.0
    box.put(Value("too large"))
    for number in range(20):
        box.put(Value(f"lamp {number}"))
        for token, subject, _ in box.take(now):
            if subject == "too large":
                refuse(box, token, now)
            else:
                acknowledge(box, token, number + 1, now)
        assert list(box.refusals) == ["too large"]
        assert len(box) == 1
        now += 0.01


def test_a_bus_that_takes_nothing_is_asked_seldom_and_gets_all_soon_once_it_takes_one() -> None:
    box, now = Outbox(window=512, deadline=3.0, pause=0.2, pause_limit=2.0), 0.0
    values = [Value(f"lamp {number}", number) for number in range(200)]
    for value in values:
        box.put(value)
    asked: list[float] = []
    while now < 10:
        for token, _, _ in box.take(now):
            asked.append(now)
            refuse(box, token, now)
        now += 0.05
    assert len([at for at in asked if at == 0]) == 200
    later = [at for at in asked if at > 0]
    assert 5 <= len(later) <= 15
    assert len([at for at in later if at > 5]) <= 4
    rounds = 0
    while len(box) and rounds < 1000:
        rounds += 1
        for token, _, _ in box.take(now):
            acknowledge(box, token, 1, now)
        now += 0.05
    assert not box.refusals
    assert rounds <= 3.0 / 0.05 + 10  # one pause, and then twice as many each time
    assert all(value.stored_at for value in values)


def test_a_slow_bus_has_its_answers_heard() -> None:
    box, lamp, now = outbox(), Value("lamp", 1), 0.0
    box.put(lamp)
    answers: list[tuple[float, str]] = []
    while now < 60 and not lamp.stored_at:
        box.expire(now)
        answers += [(now + 5.0, token) for token, _, _ in box.take(now)]
        for at, token in list(answers):
            if at <= now:
                answers.remove((at, token))
                acknowledge(box, token, 1, now)
        now += 0.1
    assert lamp.stored_at == [1]
    assert not box.unanswered


def test_what_is_not_answered_is_told_until_it_is() -> None:
    box, lamp = outbox(), Value("lamp", 1)
    box.put(lamp)
    box.take(0)
    box.expire(3.0)
    assert list(box.unanswered) == ["lamp"]
    [(token, *_)] = box.take(3.0)
    acknowledge(box, token, 1, 3.1)
    assert not box.unanswered
