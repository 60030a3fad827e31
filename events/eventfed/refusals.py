"""What to write instead, where a model of `eventfed.spec` refuses a value: in the words of the file it stands in.

pydantic's own messages speak of Python's types. Here each one says what the field takes, which is read from the
model's JSON schema, so that no message is written twice.
"""

import difflib
import enum
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_snake

__all__ = ["Mistake", "Writing", "refusals"]

_Node = Mapping[str, Any]
_OWN = ("value_error", "assertion_error")
_KEY = "[key]"


class Writing(enum.Enum):
    """How a file writes names and values."""

    TOML = "toml"
    """``snake_case``, as an agent's file."""
    MANIFEST = "manifest"
    """``camelCase``, as an EventFederation."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong."""

    where: str
    """``members.0.host``; empty where the document as a whole is meant."""
    message: str
    """What to write."""
    missing: bool = False
    """Whether nothing is written there."""
    short: bool = False
    """Whether it is a list with too few entries."""


def refusals(error: ValidationError, model: type[BaseModel], writing: Writing) -> list[Mistake]:
    """Each thing that is wrong, once, in the document's order. No value of the document is repeated: it may be secret.

    Args:
        model: what was read.
    """
    schema = _schema(model)
    found: dict[Mistake, None] = {}
    for entry in error.errors(include_input=False, include_url=False, include_context=False):
        where, node = _walk(schema, entry["loc"])
        kind = entry["type"]
        if kind in _OWN:
            message = _translated(entry["msg"].partition(", ")[2], schema, writing)
        elif kind == "extra_forbidden":
            message = _unknown(str(entry["loc"][-1]), _walk(schema, entry["loc"][:-1])[1], schema, writing)
        else:
            message = _translated(_advice(node, where, schema, writing), schema, writing)
        missing = kind == "missing"
        path = ".".join(_named(part, writing) if own else part for part, own in where)
        found[Mistake(path, f"is missing: {message}" if missing else message, missing, kind == "too_short")] = None
    # A list is short of the entries that were refused.
    return [one for one in found if not (one.short and any(other.where.startswith(f"{one.where}.") for other in found))]


@functools.cache
def _schema(model: type[BaseModel]) -> _Node:
    return model.model_json_schema()


def _resolved(node: _Node, schema: _Node) -> _Node:
    """Without references, and without "or absent"."""
    while True:
        choices = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]] | {k: v for k, v in node.items() if k != "$ref"}
        elif len(choices) == 1:
            node = choices[0] | {key: value for key, value in node.items() if key != "anyOf"}
        else:
            return node


def _walk(schema: _Node, loc: Sequence[int | str]) -> tuple[list[tuple[str, bool]], _Node]:
    """The parts of the path as (text, whether it is our field), and the schema of what stands there."""
    node, path = _resolved(schema, schema), []
    for part in loc:
        properties = node.get("properties", {})
        field = next((name for name in properties if part in (name, to_snake(name))), None)
        if field is not None:
            path.append((field, True))
            node = _resolved(properties[field], schema)
        elif isinstance(part, int) and "items" in node:
            path.append((str(part), False))
            node = _resolved(node["items"], schema)
        elif part == _KEY:
            continue
        elif isinstance(node.get("additionalProperties"), Mapping):
            path.append((str(part), False))
            node = _resolved(node["additionalProperties"], schema)
        elif "properties" in node:
            path.append((str(part), False))
            node = {}
        # Anything else is a member of a union, by the name of its Python type.
    return path, node


def _named(field: str, writing: Writing) -> str:
    return to_snake(field) if writing is Writing.TOML else field


def _fields(schema: _Node) -> Iterator[str]:
    for node in (schema, *schema.get("$defs", {}).values()):
        yield from node.get("properties", ())


def _translated(message: str, schema: _Node, writing: Writing) -> str:
    """A message of a validator, which names fields and values as a manifest does."""
    if writing is Writing.MANIFEST:
        return message
    for field in set(_fields(schema)):
        message = re.sub(rf"\b{field}: ([A-Z]\w*)", rf'{to_snake(field)} = "\1"', message)
        if field != to_snake(field):
            message = re.sub(rf"\b{field}\b", to_snake(field), message)
    return message


def _unknown(name: str, section: _Node, schema: _Node, writing: Writing) -> str:
    known = [_named(field, writing) for field in section.get("properties", ())]
    if close := difflib.get_close_matches(name, known, 1, 0.75):
        return f"there is no such field: write {close[0]}"
    return f"there is no such field: remove it; there are {', '.join(known)}"


def _advice(node: _Node, path: list[tuple[str, bool]], schema: _Node, writing: Writing) -> str:
    """``write …``: what a value may be."""
    if "enum" in node or "const" in node:
        quote = '"' if writing is Writing.TOML else ""
        values = [f"{quote}{one}{quote}" if isinstance(one, str) else str(one) for one in _values(node)]
        return f"write {_listed(values)}"
    own = [one["message"] for one in node.get("x-kubernetes-validations", ()) if "oldSelf" not in one["rule"]]
    kind = node.get("type")
    if own and kind not in ("object", "array"):
        return str(own[0])
    example = f", such as {node['examples'][0]}" if node.get("examples") else ""
    match kind:
        case "boolean":
            return "write true or false"
        case "integer" | "number":
            return f"write {'a whole number' if kind == 'integer' else 'a number'}{_range(node)}"
        case "string":
            what = "the path of a file" if node.get("format") == "path" else "a text"
            length = _counted(node.get("minLength", 0), node.get("maxLength"), "character")
            quotes = ", in quotes" if writing is Writing.TOML else ""
            return f"write {what}{length}{quotes}{example}"
        case "array":
            return _list_advice(node, path, schema, writing)
    properties = node.get("properties", {})
    needed = [_named(name, writing) for name in node.get("required", ())]
    what = f"a section [{'.'.join(_named(part, writing) for part, own in path if own)}]"
    if writing is Writing.MANIFEST or not properties or not path[-1][1]:
        what = "an object" if writing is Writing.MANIFEST else "a table"
    fields = needed or [_named(field, writing) for field in properties]
    counted = _counted(node.get("minProperties", 0), node.get("maxProperties"), "name")
    return f"write {what}{counted}" + (f" with {', '.join(fields)}" if fields else "")


def _list_advice(node: _Node, path: list[tuple[str, bool]], schema: _Node, writing: Writing) -> str:
    items = _resolved(node.get("items", {}), schema)
    counted = _counted(node.get("minItems", 0), node.get("maxItems"), "entry")
    if "properties" in items:
        needed = ", ".join(_named(name, writing) for name in items.get("required", ()))
        what = f"[[{_named(path[-1][0], writing)}]] sections" if writing is Writing.TOML else "a list of objects"
        return f"write {what}{counted}" + (f", each with {needed}" if needed else "")
    each = _advice(items, [*path, ("0", False)], schema, writing).removeprefix("write ")
    return f"write a list{counted}, in brackets; each entry: {each}"


def _values(node: _Node) -> Sequence[Any]:
    values: Sequence[Any] = node.get("enum") or (node["const"],)
    return values


def _listed(values: Sequence[str]) -> str:
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


def _range(node: _Node) -> str:
    least, above, most = node.get("minimum"), node.get("exclusiveMinimum"), node.get("maximum")
    if least is not None and most is not None:
        return f" from {least:g} to {most:.15g}"
    if least is not None:
        return f" from {least:g} upwards"
    return f" above {above:g}" if above is not None else ""


def _counted(least: int, most: int | None, what: str) -> str:
    """`` of 1 to 8 entries``; nothing where any number will do."""
    many = what[:-1] + "ies" if what.endswith("y") else what + "s"
    if most is None:
        return f" of at least {least} {many if least > 1 else what}" if least else ""
    return f" of {least} to {most} {many}" if least else f" of at most {most} {many}"
