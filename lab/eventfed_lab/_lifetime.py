"""What ``async with`` starts and closes."""

from abc import ABC, abstractmethod
from typing import Self

__all__ = ["Lifetime"]


class Lifetime(ABC):
    """Started by ``async with`` and closed in the end; one that does not start leaves nothing behind."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
