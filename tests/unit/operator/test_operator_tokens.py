"""The header secret: where it comes from, how it is rotated, how one Secret repairs the other."""

import base64
from typing import Any

import pytest

from eventfed_operator.agent_configuration import agent_configuration
from eventfed_operator.builders import build_agent_secret, build_asterisk_secret
from eventfed_operator.tokens import HeaderTokens, next_tokens


@pytest.fixture
def secrets(operator_world: Any) -> Any:
    """The two Secrets that hold some tokens."""
    world = operator_world()

    def write(tokens: HeaderTokens) -> tuple[dict[str, Any], dict[str, Any]]:
        configuration = agent_configuration(world.resource, world.settings, tokens, {})
        return (
            build_agent_secret(world.resource, tokens, configuration),
            build_asterisk_secret(world.resource, "10.96.0.1", tokens),
        )

    return write


def test_the_first_token_is_a_fresh_one() -> None:
    assert next_tokens(None, None, rotation="", fresh="fresh-token") == HeaderTokens("fresh-token")
    assert next_tokens(None, None, rotation="one", fresh="fresh-token") == HeaderTokens("fresh-token", rotation="one")


@pytest.mark.parametrize("tokens", [HeaderTokens("token-one"), HeaderTokens("token-two", "token-one", "monday")])
def test_tokens_stay_as_they_are(secrets: Any, tokens: HeaderTokens) -> None:
    agents, asterisk = secrets(tokens)
    for given in ((agents, asterisk), (agents, None), (None, asterisk)):
        assert next_tokens(*given, rotation=tokens.rotation, fresh="fresh-token") == tokens


def test_a_rotation_keeps_the_token_before(secrets: Any) -> None:
    rotated = next_tokens(*secrets(HeaderTokens("token-one")), rotation="monday", fresh="token-two")
    assert rotated == HeaderTokens("token-two", "token-one", "monday")
    assert next_tokens(*secrets(rotated), rotation="monday", fresh="token-three") == rotated


def test_a_rotation_ends_when_every_member_took_the_new_token(secrets: Any) -> None:
    both = secrets(HeaderTokens("token-two", "token-one", "monday"))
    ended = next_tokens(*both, rotation="monday", fresh="x", all_have_current=True)
    assert ended == HeaderTokens("token-two", None, "monday")


def test_a_second_rotation_follows_the_first(secrets: Any) -> None:
    both = secrets(HeaderTokens("token-two", "token-one", "monday"))
    assert next_tokens(*both, rotation="tuesday", fresh="token-three") == HeaderTokens(
        "token-three", "token-two", "tuesday"
    )


def edited(secret: dict[str, Any], key: str, text: bytes) -> dict[str, Any]:
    return {**secret, "data": {**secret["data"], key: base64.b64encode(text).decode()}}


@pytest.mark.parametrize("text", [b"somebody-elses", b"", b"\xff\xfe", b"too few", b"two\nlines-of-it"])
def test_a_token_edited_by_hand_is_put_right_from_the_snippet(secrets: Any, text: bytes) -> None:
    tokens = HeaderTokens("token-two", "token-one", "monday")
    agents, asterisk = secrets(tokens)
    assert next_tokens(edited(agents, "token", text), asterisk, rotation="monday", fresh="fresh-token") == tokens


def test_a_snippet_edited_by_hand_is_put_right_from_the_agents_secret(secrets: Any) -> None:
    agents, asterisk = secrets(HeaderTokens("token-one"))
    wrong = edited(asterisk, "pjsip_eventfed.conf", b"match_header = X-Eventfed-Token: somebody-elses\n")
    assert next_tokens(agents, wrong, rotation="", fresh="fresh-token") == HeaderTokens("token-one")
    assert next_tokens(None, wrong, rotation="", fresh="fresh-token") == HeaderTokens("fresh-token")


def test_data_that_is_no_base64_is_no_token(secrets: Any) -> None:
    agents, _ = secrets(HeaderTokens("token-one"))
    agents["data"]["token"] = "%%%"
    assert next_tokens(agents, None, rotation="", fresh="fresh-token") == HeaderTokens("fresh-token")
