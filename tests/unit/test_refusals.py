"""Where a file is refused, each message says what to write, in the words of that file."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_snake

from eventfed.refusals import Writing, refusals
from eventfed_agent.configuration import AgentConfiguration
from eventfed_cli._validate import find_mistakes
from eventfed_operator.crd.resource import EventFederationSpec

TOML: dict[str, Any] = {
    "federation": {"name": "pbx", "site": "local"},
    "nats": {"servers": ["nats://10.0.0.1:4222"]},
    "agent": {"name": "a"},
    "members": [{"name": "a", "host": "10.0.0.1"}],
    "events": [
        {"type": "mwi", "voicemail_storage": "Separate", "injection": "InPlace"},
        {"type": "device_state", "include": ["^PJSIP/"]},
    ],
}
KEY = {"name": "secret", "key": "key"}
MANIFEST: dict[str, Any] = {
    "members": {
        "selector": {"matchLabels": {"app": "a"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
    },
    "events": [
        {"type": "mwi", "voicemailStorage": "Separate", "injection": "InPlace"},
        {"type": "device_state", "include": ["^PJSIP/"]},
    ],
    "nats": {
        "servers": ["nats://10.0.0.1:4222"],
        "credentials": {"user": "a", "password": KEY},
        "operatorCredentials": {"token": KEY},
        "tls": {"authorities": KEY, "certificate": "secret"},
    },
    "agent": {
        "placement": {"tolerations": [{"key": "a"}]},
        "updateStrategy": {"type": "RollingUpdate", "maxSurge": 1},
    },
}
MODELS: list[tuple[type[BaseModel], dict[str, Any], Writing]] = [
    (AgentConfiguration, TOML, Writing.TOML),
    (EventFederationSpec, MANIFEST, Writing.MANIFEST),
]
MISSING = object()
WRONG: dict[str, Any] = {
    "missing": MISSING,
    "another type": object(),
    "a text": "no such thing, at all",
    "an empty text": "",
    "a very long text": "x" * 700,
    "a negative number": -1,
    "a huge number": 1e300,
    "a fraction": 0.5,
    "no number": float("nan"),
    "an empty list": [],
    "a long list": ["x"] * 70,
    "a list of numbers": [1.5],
    "an empty table": {},
    "a table of another kind": {"unknownField_of": "x", "another one": {}},
    "a broken expression": "([",
    "with a line's end": "a\n",
}
# What pydantic says, and Python's names of types.
FOREIGN = re.compile(
    r"[Ii]nput should|[Ff]ield required|[Ee]xtra inputs|should (be|have|match)|valid (string|integer|number|dict|tuple"
    r"|list|boolean|path|URL)|Value error|NoneType|dictionary|[Tt]uple|\bstr\b|\bint\b|pydantic|function-|\[key\]"
)
SAYS = re.compile(
    r"\b(write|use|give|remove|merge|must|needs?|belongs?|goes|keep|cannot be changed|would select|name a)\b"
)


@functools.cache
def _properties(model: type[BaseModel]) -> set[str]:
    schema = model.model_json_schema()
    return {name for node in (schema, *schema["$defs"].values()) for name in node.get("properties", ())}


def _at(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A copy of the document with another value in one place, of which some may not be there yet."""
    if not path:
        return value
    head, rest = path[0], path[1:]
    if isinstance(head, int):
        copy = list(document or [])
        copy[head : head + 1] = [_at(copy[head] if head < len(copy) else None, rest, value)]
        return copy
    made = dict(document or {})
    if not rest and value is MISSING:
        made.pop(head, None)
    else:
        made[head] = _at(made.get(head), rest, value)
    return made


def _paths(schema: dict[str, Any], node: dict[str, Any], path: tuple[str | int, ...], snake: bool) -> Iterator[Any]:
    """The place of each field, and of the first entry of each list."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if path:
        yield path
    for one in node.get("anyOf", ()):
        yield from (deeper for deeper in _paths(schema, one, path, snake) if deeper != path)
    for name, inner in node.get("properties", {}).items():
        yield from _paths(schema, inner, (*path, to_snake(name) if snake else name), snake)
    if isinstance(node.get("items"), dict):
        yield from _paths(schema, node["items"], (*path, 0), snake)
    if isinstance(node.get("additionalProperties"), dict):
        yield from _paths(schema, node["additionalProperties"], (*path, "some name"), snake)


def _cases() -> Iterator[Any]:
    for model, document, writing in MODELS:
        schema = model.model_json_schema()
        for path in dict.fromkeys(_paths(schema, schema, (), writing is Writing.TOML)):
            yield pytest.param(model, document, writing, path, id=f"{writing.value} {'.'.join(map(str, path))}")


def _check(message: str, model: type[BaseModel], writing: Writing) -> None:
    assert not FOREIGN.search(message), message
    assert SAYS.search(message), message
    camel = {name for name in _properties(model) if name != to_snake(name)}
    foreign = camel if writing is Writing.TOML else {to_snake(name) for name in camel}
    assert not {word for word in re.findall(r"\w+", message) if word in foreign}, message


@pytest.mark.parametrize(("model", "document", "writing", "path"), list(_cases()))
def test_every_refusal_says_what_to_write_in_the_words_of_the_file(
    model: type[BaseModel], document: dict[str, Any], writing: Writing, path: tuple[str | int, ...]
) -> None:
    refused = 0
    for wrong in WRONG.values():
        try:
            model.model_validate(_at(document, path, wrong))
        except ValidationError as error:
            found = refusals(error, model, writing)
            assert found
            refused += 1
            for one in found:
                _check(f"{one.where}: {one.message}", model, writing)
    assert refused >= 3


@pytest.mark.parametrize(("model", "document", "writing"), MODELS)
def test_what_the_cases_stand_on_is_right(model: type[BaseModel], document: dict[str, Any], writing: Writing) -> None:
    assert model.model_validate(document)


@pytest.mark.parametrize(("model", "document", "writing"), MODELS)
def test_an_unknown_field_is_told_with_the_one_that_was_meant(
    model: type[BaseModel], document: dict[str, Any], writing: Writing
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**document, "depature": {}, "else": 1})
    close, other = refusals(caught.value, model, writing)
    assert (close.where, close.message) == ("depature", "there is no such field: write departure")
    assert other.message.startswith("there is no such field: remove it; there are ")


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[federation]\nname = 'a b'", "federation.name", "write 1 to 128 letters, digits, '_' and '-'"),
        ("[nats]\nservers = []", "nats.servers", "write a list of at least 1 entry, in brackets"),
        ("[nats]\nreplicas = 9", "nats.replicas", "write a whole number from 1 to 5"),
        ("[agent]\nlog_level = 'loud'", "agent.log_level", 'write "debug", "info", "warning" or "error"'),
        ("events = [{ type = 'mwi' }]", "events.0", 'mwi needs voicemail_storage = "Separate" (each server'),
        ("[departure]\ntombstone_ttl = 1", "departure.tombstone_ttl", "write a number from 60 to 2592000"),
        ("[timing]\nkeep_alive = nan", "timing.keep_alive", "write a number above 0"),
        ("[[members]]\nname = 'a'", "members.0.host", "is missing: write a text, in quotes, such as 10.0.0.1"),
        ("", "events", "is missing: write [[events]] sections, each with type"),
    ],
)
def test_validate_says_of_a_file(text: str, where: str, message: str) -> None:
    configuration, mistakes = find_mistakes(text, files=False)
    assert configuration is None
    assert next(one.message for one in mistakes if one.where == where).startswith(message)
