"""What is news of a shared mailbox."""

from dataclasses import replace

from eventfed import EID, MAX_NUMBER, Event, decode_envelope, encode_envelope
from eventfed_agent.members.shared_order import SharedMailboxOrder, latest_count, next_order

A, B = EID.parse("02:00:00:00:00:0a"), EID.parse("02:00:00:00:00:0b")


class Bus:
    """The last word of each server on one mailbox, and who numbers it."""

    def __init__(self) -> None:
        self.states: dict[EID, Event] = {}
        self.order = {A: SharedMailboxOrder(), B: SharedMailboxOrder()}

    def say(self, eid: EID, new: int, old: int, *, overwritten: bool = False) -> None:
        event = Event.mailbox("1001@default", new, old, eid)
        self.states[eid] = self.order[eid].number(event, self.states.get(eid), self.states, overwritten=overwritten)

    @property
    def lamp(self) -> tuple[int, int] | None:
        latest = latest_count(self.states)
        return (latest.counts.new, latest.counts.old) if latest else None


def test_the_last_change_wins() -> None:
    bus = Bus()
    assert bus.lamp is None
    bus.say(A, 1, 0)
    bus.say(B, 0, 1)
    assert bus.lamp == (0, 1)
    bus.say(A, 2, 1)
    assert bus.lamp == (2, 1)


def test_an_answer_to_a_refresh_is_no_news() -> None:
    bus = Bus()
    bus.say(B, 0, 0)
    bus.say(A, 1, 0)
    for _ in range(3):
        bus.say(B, 0, 0)
    assert bus.lamp == (1, 0)


def test_the_first_word_after_a_restart_is_news() -> None:
    bus = Bus()
    bus.say(B, 0, 0)
    bus.say(A, 1, 0)
    bus.order[B].restarted()
    bus.say(B, 0, 0)
    assert bus.lamp == (0, 0)
    bus.say(A, 1, 0, overwritten=True)
    bus.say(B, 0, 0)
    assert bus.lamp == (1, 0)


def test_a_new_message_counts_although_the_server_says_the_same_as_last_time() -> None:
    bus = Bus()
    bus.say(A, 1, 0)
    bus.say(B, 0, 0)  # heard through B and deleted
    bus.say(A, 1, 0, overwritten=True)
    assert bus.lamp == (1, 0)


def test_what_is_no_news_keeps_its_number() -> None:
    bus = Bus()
    bus.say(A, 1, 0)
    before = bus.states[A]
    bus.say(A, 1, 0)
    assert bus.states[A] == before


def test_a_number_that_cannot_be_surpassed_silences_nobody() -> None:
    forged = replace(Event.mailbox("1001@default", 9, 0, B, time=1.0), order=MAX_NUMBER)
    assert next_order([forged]) == MAX_NUMBER
    said = replace(Event.mailbox("1001@default", 1, 0, A, time=2.0), order=next_order([forged]))
    assert latest_count({A: said, B: forged}) == said
    assert decode_envelope(encode_envelope(said)) == said
