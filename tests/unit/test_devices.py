"""How states of one device on several servers add up: the whole of Asterisk's table."""

from itertools import permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventfed import DeviceState, MalformedEvent, aggregate_device_state, neutral_device_state

# local \ remote, after ast_devstate_aggregate_result (main/devicestate.c, Asterisk 22).
TABLE = """
            UNKNOWN     NOT_INUSE INUSE     BUSY      INVALID     UNAVAILABLE RINGING   RINGINUSE ONHOLD
UNKNOWN     UNKNOWN     NOT_INUSE INUSE     BUSY      UNKNOWN     UNAVAILABLE RINGING   RINGINUSE ONHOLD
NOT_INUSE   NOT_INUSE   NOT_INUSE INUSE     BUSY      NOT_INUSE   NOT_INUSE   RINGING   RINGINUSE ONHOLD
INUSE       INUSE       INUSE     INUSE     BUSY      INUSE       INUSE       RINGINUSE RINGINUSE INUSE
BUSY        BUSY        BUSY      BUSY      BUSY      BUSY        BUSY        RINGINUSE RINGINUSE BUSY
INVALID     UNKNOWN     NOT_INUSE INUSE     BUSY      INVALID     UNAVAILABLE RINGING   RINGINUSE ONHOLD
UNAVAILABLE UNAVAILABLE NOT_INUSE INUSE     BUSY      UNAVAILABLE UNAVAILABLE RINGING   RINGINUSE ONHOLD
RINGING     RINGING     RINGING   RINGINUSE RINGINUSE RINGING     RINGING     RINGING   RINGINUSE RINGINUSE
RINGINUSE   RINGINUSE   RINGINUSE RINGINUSE RINGINUSE RINGINUSE   RINGINUSE   RINGINUSE RINGINUSE RINGINUSE
ONHOLD      ONHOLD      ONHOLD    INUSE     BUSY      ONHOLD      ONHOLD      RINGINUSE RINGINUSE ONHOLD
"""


def _table() -> dict[tuple[DeviceState, DeviceState], DeviceState]:
    remotes, *rows = [[DeviceState[name] for name in line.split()] for line in TABLE.strip().splitlines()]
    return {(row[0], remote): result for row in rows for remote, result in zip(remotes, row[1:], strict=True)}


EXPECTED = _table()


def test_the_table_is_whole() -> None:
    assert set(EXPECTED) == set(product(DeviceState, DeviceState))


@pytest.mark.parametrize("pair", EXPECTED, ids=lambda pair: f"{pair[0].name}-{pair[1].name}")
def test_two_servers_add_up_as_in_asterisk(pair: tuple[DeviceState, DeviceState]) -> None:
    assert aggregate_device_state(pair) is EXPECTED[pair]


def test_the_order_of_the_servers_does_not_matter() -> None:
    for states in product(DeviceState, repeat=3):
        assert len({aggregate_device_state(order) for order in permutations(states)}) == 1


@given(st.lists(st.sampled_from(DeviceState), min_size=1))
@settings(max_examples=100)
def test_a_server_that_says_it_again_changes_nothing(states: list[DeviceState]) -> None:
    assert aggregate_device_state(states) is aggregate_device_state(states + states)


def test_a_device_that_nobody_knows_is_invalid() -> None:
    assert aggregate_device_state([]) is DeviceState.INVALID


def test_the_tombstone_never_hides_a_living_server() -> None:
    for device in ("PJSIP/1001", "Custom:lamp"):
        neutral = neutral_device_state(device)
        for state in set(DeviceState) - {DeviceState.INVALID}:
            assert aggregate_device_state([neutral, state]) is state


def test_a_channel_device_dies_as_invalid_and_a_provider_as_unknown() -> None:
    assert neutral_device_state("PJSIP/1001") is DeviceState.INVALID
    assert neutral_device_state("Custom:lamp") is DeviceState.UNKNOWN


@pytest.mark.parametrize("state", DeviceState, ids=lambda state: state.name)
def test_every_state_reads_back_in_either_case(state: DeviceState) -> None:
    assert DeviceState.parse(state.name) is state
    assert DeviceState.parse(state.name.lower()) is state


@pytest.mark.parametrize("text", ["", "FOO", "IN USE", "2", 2, None, ["INUSE"], "x" * 1000])
def test_a_text_that_asterisk_would_take_for_unknown_is_refused(text: object) -> None:
    with pytest.raises(MalformedEvent, match="is no device state: use one of") as caught:
        DeviceState.parse(text)
    assert len(str(caught.value)) < 300
