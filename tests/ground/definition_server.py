"""An API server that knows the custom resource definition: jsonschema for the schema, cel-python for the rules.

Defaults come first, as in a real one.
"""

import copy
import functools
from collections.abc import Iterator
from typing import Any

import celpy.adapter
import celpy.celtypes
import jsonschema

from eventfed_operator.crd.definition import custom_resource_definition

__all__ = ["SCHEMA", "defaulted", "for_jsonschema", "nodes", "program", "refusals", "rule_failures", "unknown_fields"]

SCHEMA: dict[str, Any] = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path or "root", schema
    for name, one in schema.get("properties", {}).items():
        yield from nodes(one, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            yield from nodes(schema[name], f"{path}.{name}")


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        filled = {**{k: copy.deepcopy(s["default"]) for k, s in properties.items() if "default" in s}, **value}
        free = schema.get("additionalProperties", {})
        return {name: defaulted(one, properties.get(name, free)) for name, one in filled.items()}
    if isinstance(value, list):
        return [defaulted(one, schema.get("items", {})) for one in value]
    return value


def unknown_fields(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    if path == ".metadata" or schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, dict) and "additionalProperties" not in schema:
        for name, one in value.items():
            if name in schema.get("properties", {}):
                yield from unknown_fields(one, schema["properties"][name], f"{path}.{name}")
            else:
                yield f'unknown field "{path[1:]}.{name}"'
    elif isinstance(value, list):
        for one in value:
            yield from unknown_fields(one, schema.get("items", {}), path)


def for_jsonschema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [for_jsonschema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: for_jsonschema(value) for key, value in schema.items() if key != "format"}
    if schema.get("x-kubernetes-int-or-string") is True:
        result["type"] = ["integer", "string"]
    return result


def as_cel(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        properties, free = schema.get("properties", {}), schema.get("additionalProperties", {})
        items = {celpy.celtypes.StringType(k): as_cel(v, properties.get(k, free)) for k, v in value.items()}
        return celpy.celtypes.MapType(items)
    if isinstance(value, list):
        return celpy.celtypes.ListType([as_cel(one, schema.get("items", {})) for one in value])
    if schema.get("type") == "number":
        return celpy.celtypes.DoubleType(value)
    return celpy.adapter.json_to_cel(value)


@functools.cache
def program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))


def rule_failures(value: Any, old: Any, schema: dict[str, Any]) -> Iterator[str]:
    for one in schema.get("x-kubernetes-validations", ()):
        transition = "oldSelf" in one["rule"]
        if transition and old is None:
            continue
        names = {"self": as_cel(value, schema)} | ({"oldSelf": as_cel(old, schema)} if transition else {})
        if program(one["rule"]).evaluate(names) != celpy.celtypes.BoolType(True):
            yield one["message"]
    if isinstance(value, dict):
        for name, one in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
            yield from rule_failures(one, old.get(name) if isinstance(old, dict) else None, inner)
    elif isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen = [tuple(one.get(key) for key in keys) for one in value] if keys else []
        before = {tuple(one.get(key) for key in keys): one for one in old or ()} if keys else {}
        if len(set(seen)) < len(seen):
            yield "Duplicate value"
        if schema.get("x-kubernetes-list-type") == "set" and len(set(value)) < len(value):
            yield "Duplicate value"
        for index, one in enumerate(value):
            yield from rule_failures(one, before.get(seen[index]) if keys else None, schema.get("items", {}))


def refusals(manifest: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    """What the API server answers to a manifest; empty when it takes it."""
    unknown = list(unknown_fields(manifest, SCHEMA, ""))
    filled = defaulted(manifest, SCHEMA)
    wrong = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(for_jsonschema(SCHEMA)).iter_errors(filled)
    ]
    if unknown or wrong:
        return unknown + wrong
    return list(rule_failures(filled, defaulted(old, SCHEMA) if old else None, SCHEMA))
