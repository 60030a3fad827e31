"""The types of fixtures that more than one module asks for."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from eventfed import Federation, StateKey
from eventfed_lab import AsteriskServer, NatsServer

AsteriskFactory = Callable[..., Awaitable[AsteriskServer]]
NatsFactory = Callable[..., Awaitable[NatsServer]]
Shown = Callable[[Federation], dict[StateKey, object]]


class Clients(Protocol):
    def __call__(self, *agents: str, **options: Any) -> AbstractAsyncContextManager[list[Federation]]: ...


class Until(Protocol):
    async def __call__(self, condition: Callable[[], object], within: float = ...) -> float: ...


class Measure(Protocol):
    def __call__(self, what: str, value: float, unit: str = ...) -> None: ...
