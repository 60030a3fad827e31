"""Values of which a test knows more than their types say."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    """The value, which is not None."""
    assert value is not None
    return value


def instance(kind: type[T], value: object) -> T:
    """The value, which is of this class."""
    assert isinstance(value, kind), value
    return value
