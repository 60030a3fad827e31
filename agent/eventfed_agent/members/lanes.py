"""What waits for one member, spread over the publications by which it is given."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator

from eventfed import EventType

from .foreign_states import Item

__all__ = ["Lane", "Lanes"]

_LIMIT = 64


class Lane:
    """Items of one publication, each once, oldest first. One of them at most is under way."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.busy = False
        self._items: OrderedDict[Item, int] = OrderedDict()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: Item) -> bool:
        return item in self._items

    @property
    def pending(self) -> int:
        """How many items wait or are under way."""
        return len(self._items) + self.busy

    def put(self, item: Item, attempts: int = 0, *, first: bool = False) -> bool:
        """Returns False for an item that waits already."""
        new = item not in self._items
        self._items.setdefault(item, attempts)
        if first:
            self._items.move_to_end(item, last=False)
        self._wake.set()
        return new

    def take(self) -> tuple[Item, int]:
        """The oldest item, and how many attempts were made with it."""
        return self._items.popitem(last=False)

    async def wait(self) -> None:
        """Until an item waits."""
        while not self._items:
            self._wake.clear()
            await self._wake.wait()


class Lanes:
    """All lanes of one member. Each name is in the same one always, so that its values stay in order.

    Args:
        count: how many there are.
        lane_of: the lane of a name.
    """

    def __init__(self, count: int, lane_of: Callable[[EventType, str], int]) -> None:
        self._lanes = [Lane(number) for number in range(count)]
        self._lane_of = lane_of

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    @property
    def pending(self) -> int:
        """How many items wait or are under way."""
        return sum(lane.pending for lane in self._lanes)

    def has_space(self, item: Item) -> bool:
        """Whether the item's lane takes it."""
        lane = self._lanes[self._lane_of(item[0], item[2])]
        return len(lane) < _LIMIT or item in lane

    def put(self, item: Item) -> bool:
        """Behind what waits in its lane, also where there is no space. Returns False for one that waits already."""
        return self._lanes[self._lane_of(item[0], item[2])].put(item)
