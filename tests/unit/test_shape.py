"""How large a class may grow, and which way imports between the wings of a package point."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("events", "agent", "operator", "cli")
MOST_ATTRIBUTES = 15
MOST_PARAMETERS = 8

# Data: what is known of something, without behaviour. Configuration is a tree of such classes.
DATA = {"Spec", "NamedTuple", "Protocol", "Enum", "StrEnum", "IntEnum", "BaseModel"}

FLOORS = {
    "eventfed": (
        ("model", "pace", "tasks"),
        ("wire", "spec", "asterisk_config", "refusals"),
        ("core",),
        ("jetstream",),
        ("federation",),
        ("(face)",),
    ),
    "eventfed_agent": (
        ("configuration", "contention", "event_log", "latencies"),
        ("adapter",),
        ("members", "pjsip"),
        ("nats_access", "reporting", "requests", "roster_changes"),
        ("orders",),
        ("membership",),
        ("agent",),
        ("process",),
        ("(face)",),
    ),
}
"""The wings of each package, those that others stand on first. Wings of one floor do not know each other."""


class Size(NamedTuple):
    attributes: int
    parameters: int


def classes(folder: Path) -> Iterator[tuple[str, Size]]:
    """Each class with behaviour, as path and name, and how large it is."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not is_data(node):
                yield f"{path.relative_to(ROOT)}:{node.name}", size(node)


def is_data(node: ast.ClassDef) -> bool:
    bases = [ast.unparse(base).partition("[")[0] for base in node.bases]
    named = [base.rpartition(".")[2] for base in bases if not base.startswith("asyncio.")]
    return not DATA.isdisjoint(named) or any("dataclass" in ast.unparse(one) for one in node.decorator_list)


def size(node: ast.ClassDef) -> Size:
    attributes = {
        one.attr
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store) and ast.unparse(one.value) == "self"
    }
    makers = [one.args for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    parameters = sum(len(args.posonlyargs) + len(args.args) - 1 + len(args.kwonlyargs) for args in makers)
    return Size(len(attributes), parameters)


def test_no_class_has_more_than_15_attributes_or_8_constructor_parameters() -> None:
    sizes = {name: found for top in PRODUCT for name, found in classes(ROOT / top)}
    assert len(sizes) > 100
    large = {
        name: tuple(found)
        for name, found in sizes.items()
        if found.attributes > MOST_ATTRIBUTES or found.parameters > MOST_PARAMETERS
    }
    assert not large, "find the smaller things inside"


def test_a_protocol_of_asyncio_is_no_data() -> None:
    bases = ("Protocol", "typing.Protocol", "Protocol[int]", "asyncio.Protocol")
    nodes = [ast.parse(f"class A({base}): pass").body[0] for base in bases]
    assert [is_data(node) for node in nodes if isinstance(node, ast.ClassDef)] == [True, True, True, False]


def test_the_counter_of_attributes_sees_every_way_to_assign_one() -> None:
    text = (
        "class A:\n    def __init__(self, a, /, b, *, c):\n        self.a: int = a\n        self.b, other.x = b, c\n"
        "        self.c += 1\n    async def go(self):\n        for self.d in (): pass\n        print(self.e)\n"
    )
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ClassDef)
    assert size(node) == Size(4, 3)


CHANGES = {"take", "set", "clear", "append", "add", "pop", "update", "setdefault", "discard", "remove", "cancel"}
"""Names of methods that change what they are called on."""


def test_reading_a_property_of_a_member_changes_nothing() -> None:
    properties = [
        (f"{path.name}:{one.name}", one)
        for path in sorted((ROOT / "agent/eventfed_agent/members").glob("*.py"))
        for one in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(one, ast.FunctionDef) and "property" in map(ast.unparse, one.decorator_list)
    ]
    assert len(properties) > 25
    assert not {name for name, one in properties if changes(one)}


def changes(function: ast.FunctionDef) -> bool:
    return any(
        (isinstance(one, ast.Attribute | ast.Subscript) and isinstance(one.ctx, ast.Store | ast.Del))
        or (isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in CHANGES)
        for one in ast.walk(function)
    )


@pytest.mark.parametrize(
    "text", ["self._caught_up = True", "self._lifecycle.take(1)", "self._all[1] = 2", "del self.a"]
)
def test_a_property_that_changes_something_is_seen(text: str) -> None:
    function = ast.parse(f"def state(self):\n    {text}\n    return self._state").body[0]
    assert isinstance(function, ast.FunctionDef)
    assert changes(function)


def wing(module: str) -> str:
    return [*module.split("."), "(face)"][1]


@pytest.mark.parametrize("package", FLOORS)
def test_imports_between_the_wings_of_a_package_point_down(package: str) -> None:
    graph = grimp.build_graph(package, cache_dir=None)
    modules = Counter(wing(module) for module in graph.modules)
    floor = {name: number for number, names in enumerate(FLOORS[package]) for name in names}
    assert set(modules) == set(floor), "say on which floor a wing stands"
    arrows = Counter(
        (wing(module), wing(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if wing(module) != wing(imported)
    )
    assert arrows
    up = {arrow: count for arrow, count in arrows.items() if floor[arrow[0]] < floor[arrow[1]]}
    assert not up, f"modules in each wing: {dict(modules)}; arrows between them: {dict(arrows)}"
    sideways = {arrow: count for arrow, count in arrows.items() if floor[arrow[0]] == floor[arrow[1]]}
    assert not sideways, f"modules in each wing: {dict(modules)}; arrows between them: {dict(arrows)}"
