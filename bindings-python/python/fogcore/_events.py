"""What happens in a fog, as an asynchronous iterator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _fogcore
from ._bridge import ask
from ._money import Asset, decimal

_BATCH = 256
# The fields of events that the core writes in base units of the fog's asset.
_AMOUNTS = frozenset({"paid", "cost"})


@dataclass(frozen=True)
class Event:
    """Something that happened in this process's fog.

    Attributes:
        number: Grows by one with each event of an iterator, from 1.
        kind: What happened: ``node_registered``, ``task_succeeded``, ``breaker_changed``, …;
            ``missed`` if events were lost because nobody took them in time: `data["events"]` tells
            how many.
        data: What else is known of it; amounts (`paid`, `cost`) as `Decimal`.

    ```python
    events = fog.events("task_succeeded")
    await (await fog.submit("add", [1, 2])).wait()
    event = await anext(events)
    print(event.kind, event.task, event.data["paid"])
    ```
    """

    number: int
    kind: str
    data: Mapping[str, Any] = field(hash=False)

    @property
    def node(self) -> str | None:
        """The node that it is about, if it is about one."""
        return self.data.get("node")

    @property
    def task(self) -> str | None:
        """The task that it is about, if it is about one."""
        return self.data.get("task")

    @classmethod
    def _of(cls, json: Any, asset: Asset) -> Event:
        event = json["event"]
        if event is None:
            return cls(json["number"], "missed", {"events": json["missed"]})
        rest = {
            name: decimal(value, asset) if name in _AMOUNTS else value
            for name, value in event.items()
            if name != "type"
        }
        return cls(json["number"], event["type"], rest)


class Events:
    """Events from the moment on at which it was made, until the fog is closed. A few thousand are
    kept for a slow reader; what is lost after that is told as an event of the kind ``missed``.

    ```python
    async for event in events:
        if event.kind == "missed":
            print(event.data["events"], "events were lost")
        elif event.kind == "node_registered":
            break
    ```
    """

    def __init__(self, native: _fogcore.Events, kinds: frozenset[str], asset: Asset) -> None:
        self._native = native
        self._asset = asset
        self._kinds = kinds
        self._here: list[Event] = []
        self._heard = 0

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while True:
            while self._here:
                event = self._here.pop()
                self._heard = event.number
                if not self._kinds or event.kind in self._kinds or event.kind == "missed":
                    return event
            told = await ask(self._native.pull, self._heard, _BATCH)
            if not told:
                raise StopAsyncIteration
            self._here = [Event._of(one, self._asset) for one in reversed(told)]
