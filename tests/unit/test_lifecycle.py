"""Where a member stands: every transition of the table in the docstring of `Lifecycle`, and none besides."""

import copy
import inspect
from itertools import compress
from typing import ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from eventfed.wire.report import MemberState
from eventfed_agent.members.lifecycle import Input, Lifecycle

Transition = tuple[MemberState, Input, MemberState]
ILLS = (Input.BEHIND, Input.LOST, Input.TROUBLE, Input.MOVED, Input.RIVAL, Input.REFUSED)


def table() -> set[Transition]:
    """What the docstring says."""
    lines = inspect.getdoc(Lifecycle) or ""
    rows = [line.split(maxsplit=2) for line in lines.split("==\n")[2].splitlines()[:-1]]
    assert len(rows) > 30
    return {
        (MemberState(before), Input(what), MemberState(after))
        for before, what, follows in rows
        for after in follows.split(", ")
    }


class Member(RuleBasedStateMachine):
    """One member of which anything is learned at any time."""

    found: ClassVar[set[Transition]] = set()

    @initialize()
    def begin(self) -> None:
        self.lifecycle = Lifecycle()

    @rule(what=st.sampled_from(Input))
    def learn(self, what: Input) -> None:
        before = self.lifecycle.state
        after = self.lifecycle.take(what)
        if after is not before:
            self.found.add((before, what, after))

    @rule(ills=st.tuples(*[st.booleans()] * len(ILLS)))
    def all_is_well_before_several_things_go_wrong(self, ills: tuple[bool, ...]) -> None:
        for what in (Input.ANSWERS, Input.MENDED, Input.IDENTIFIED, Input.CAUGHT_UP):
            self.learn(what)
        assert self.lifecycle.state is MemberState.SYNCED
        for what in compress(ILLS, ills):
            self.learn(what)

    @invariant()
    def anything_may_come_next(self) -> None:
        """Each input is tried on a copy, so that no transition is left to chance once its beginning was reached."""
        here = self.lifecycle
        for what in Input:
            self.lifecycle = copy.copy(here)
            self.learn(what)
        self.lifecycle = here

    @invariant()
    def reading_changes_nothing(self) -> None:
        facts = dict(vars(self.lifecycle))
        assert self.lifecycle.state is self.lifecycle.state
        assert vars(self.lifecycle) == facts


def test_a_member_takes_each_transition_of_the_table_and_no_other() -> None:
    Member.found.clear()
    many = settings(max_examples=200, stateful_step_count=50, deadline=None, derandomize=True)
    run_state_machine_as_test(Member, settings=many)
    assert Member.found == table()
