"""MkDocs hooks: pages that are made from the code, and links to files that stand outside of the site."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import eventfed

_ROOT = Path(__file__).resolve().parents[2]
_DEFINITION = _ROOT / "charts/eventfed/files/eventfederations.yaml"
_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)(?:#[^)]*)?\)")
_WINGS = {
    "federation": "The federation",
    "core": "What a federation is made of",
    "jetstream": "NATS",
    "wire": "Encodings",
    "model": "Events and values",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    files.append(File.generated(config, "reference/library.md", content=library_page()))
    files.append(File.generated(config, "reference/resource.md", content=resource_page()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A file of the repository that is no page is named, not linked."""
    return _OUTSIDE.sub(lambda found: f"{found[1]} (`{found[2]}`)", markdown)


def library_page() -> str:
    """Every public name of the library, by wing."""
    by_wing: dict[str, list[str]] = {}
    for name in eventfed.__all__:
        by_wing.setdefault(_wing_of(name), []).append(name)
    parts = ["# The library\n", "`import eventfed` gives a program all that agents and operator use of a federation.\n"]
    for wing, title in _WINGS.items():
        parts.append(f"## {title}\n")
        parts += [f"::: eventfed.{_place_of(name)}\n" for name in sorted(by_wing.get(wing, []))]
    return "\n".join(parts)


def _place_of(name: str) -> str:
    """The name with the module that defines it, from `eventfed` on."""
    for line in (
        (_ROOT / "events/eventfed/__init__.py").read_text(encoding="utf-8").replace("(\n", "(").split("from .")[1:]
    ):
        module, _, names = line.partition(" import ")
        if re.search(rf"\b{name}\b", names.partition("__all__")[0]):
            return f"{module}.{name}"
    raise LookupError(f"{name} stands in __all__, but no import brings it")


def _wing_of(name: str) -> str:
    return _place_of(name).partition(".")[0]


def resource_page() -> str:
    """The fields of the custom resource, from the definition that the chart installs."""
    definition = yaml.safe_load(_DEFINITION.read_text(encoding="utf-8"))
    [version] = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [
        "# EventFederation\n",
        f"`apiVersion: {definition['spec']['group']}/{version['name']}`, short name `evfed`.\n",
        "A field in **bold** is required.\n",
    ]
    for section in ("spec", "status"):
        parts += [f"## {section}\n", "| field | type | default | what |", "| --- | --- | --- | --- |"]
        parts += [_row(*field) for field in _fields(schema[section], section)]
        rules = [*_rules(schema[section], section)]
        if rules:
            parts += ["\n### Rules\n", "The API server refuses what breaks one of these.\n", *rules]
        parts.append("")
    return "\n".join(parts)


def _fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, field in schema.get("properties", {}).items():
        inner, here = field, f"{path}.{name}"
        yield here, field, name in schema.get("required", ())
        if field.get("type") == "array":
            inner, here = field.get("items", {}), f"{here}[]"
        yield from _fields(inner, here)


def _row(path: str, field: dict[str, Any], required: bool) -> str:
    kind = field.get("type", "integer or text" if field.get("x-kubernetes-int-or-string") else "any")
    if "enum" in field:
        kind = ", ".join(f"`{value}`" for value in field["enum"])
    default = f"`{field['default']}`" if "default" in field else ""
    bounds = ", ".join(
        f"{word} {field[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in field
    )
    what = " ".join(filter(None, [field.get("description", ""), f"({bounds})" if bounds else ""]))
    name = f"**`{path}`**" if required else f"`{path}`"
    return f"| {name} | {kind} | {default} | {what} |".replace("\n", " ")


def _rules(schema: dict[str, Any], path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"* `{path}`: {rule['message']}"
    for name, field in schema.get("properties", {}).items():
        yield from _rules(field, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
