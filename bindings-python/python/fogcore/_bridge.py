"""How answers of the core reach the event loop that asked.

The core's threads never call Python. What they have to say waits in a queue, and a socket that the
loop watches says that there is something; the loop then takes all of it. So a call holds no lock
while it waits, many answers cost one wake-up, and an interpreter that is going away is never
called.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import weakref
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from . import _fogcore
from ._errors import InvalidInputError

# What was opened before a fork says so in the child, instead of waiting for threads that are not
# there.
os.register_at_fork(after_in_child=_fogcore.forked)

Handler = Callable[[Any], None]


class Bridge:
    """One event loop's way to the core."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.native = _fogcore.Bridge()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._handlers: dict[int, Handler] = {0: _log}
        loop.add_reader(self.native.fileno(), self._drain)
        # It must not keep the loop, and ends with it.
        weakref.finalize(loop, self.native.close)

    @classmethod
    def here(cls) -> Bridge:
        """The bridge of the running loop."""
        loop = asyncio.get_running_loop()
        bridge = cls._of_loops.get(loop)
        if bridge is None:
            bridge = cls._of_loops[loop] = cls(loop)
        return bridge

    def _drain(self) -> None:
        for number, good, value in self.native.drain():
            future = self._waiting.pop(number, None)
            if future is not None:
                if future.done():
                    continue
                if good:
                    future.set_result(value)
                else:
                    future.set_exception(value)
            elif (handler := self._handlers.get(number)) is not None:
                handler(value)

    def handle(self, number: int, handler: Handler) -> None:
        """What comes under this number goes there, until it is `unhandle`d."""
        self._handlers[number] = handler

    def unhandle(self, number: int) -> None:
        """Nobody wants to hear more under this number."""
        self._handlers.pop(number, None)

    async def answer(self, number: int) -> Any:
        """Waits for the answer to the call with this number.

        If whoever waits is cancelled, a call that only waits ends, and one that changes something
        goes on to its end.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            return await future
        except asyncio.CancelledError:
            if self._waiting.pop(number, None) is not None:
                self.native.give_up(number)
            raise


def _log(record: tuple[int, str, str]) -> None:
    level, target, message = record
    logging.getLogger(target).log(level, "%s", message)


async def call(start: Callable[..., int], *arguments: Any) -> Any:
    """Makes a call to the core, and waits for its answer."""
    bridge = Bridge.here()
    return await bridge.answer(start(bridge.native, *arguments))


async def ask(start: Callable[..., int], *arguments: Any) -> Any:
    """Makes a call to the core whose answer is JSON."""
    return json.loads(await call(start, *arguments))


def dumps(value: Any) -> str:
    """JSON as the core reads it; NaN and infinity are not JSON."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        field = _not_a_number(value) or "input"
        raise InvalidInputError(f"{field}: {error}", field) from None


def _not_a_number(value: Any) -> str | None:
    """The path of what is a float and no number."""
    if isinstance(value, dict):
        for name, each in value.items():
            if (path := _not_a_number(each)) is not None:
                return f"{name}.{path}".removesuffix(".")
    return "" if isinstance(value, float) and not math.isfinite(value) else None


def whole(value: int, field: str, most: int = 2**32 - 1) -> int:
    """A whole number that the core can hold; what it means, the core judges."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{field}: an int is wanted, not {type(value).__name__}")
    if not 0 <= value <= most:
        raise InvalidInputError(f"{field}: must be between 0 and {most}", field)
    return value
