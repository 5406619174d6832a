"""Which node serves a request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from . import _fogcore
from ._fogcore import Pick


class _Asked(NamedTuple):
    """A request, as the core is told of it."""

    kind: str | None
    request_class: str | None
    region: str | None
    label: tuple[str, str] | None
    key: str | None
    stay_with: str | None
    except_nodes: list[str]


def _all(nodes: Sequence[str]) -> list[str]:
    """The nodes; of one alone, not its letters."""
    return [nodes] if isinstance(nodes, str) else list(nodes)


class Balancer:
    """Picks nodes of a fog, and learns from how requests went.

    ```python
    balancer = await fog.balancer(fogcore.Strategy.LEAST_CONNECTIONS)
    with balancer.pick() as picked:
        answer = await ask(picked.node)
    ```

    When the block ends well, the request succeeded; an exception is a failure of the node (a
    `TimeoutError`, a `ConnectionError` and a `MemoryError` each of its own kind); a cancellation
    says nothing. `picked.success()` and `picked.failure()` say it by hand, once.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _fogcore.Balancer) -> None:
        self._native = native

    def pick(
        self,
        *,
        key: str | None = None,
        region: str | None = None,
        label: tuple[str, str] | None = None,
        kind: str | None = None,
        request_class: str | None = None,
        stay_with: str | None = None,
        exclude: Sequence[str] = (),
    ) -> Pick:
        """Picks a node; it never waits.

        Args:
            key: What consistent hashing goes by: a user, a document.
            region: The region where nodes are preferred.
            label: The label that nodes must have, with its value; its key is one of the balancer's
                `subset_keys`.
            kind: What the request mostly needs: ``general``, ``upload``, ``download``, ``search``.
            request_class: The class that it belongs to; one of the balancer's `classes`.
            stay_with: The node that served the session before, kept as long as it takes work.
            exclude: Nodes that were tried already.

        Raises:
            UnavailableError: None takes the request; `retry_after` tells when one may.

        ```python
        with balancer.pick(key="user-7", region="eu") as picked:
            print(picked.node)
        ```
        """
        if (
            key is None
            and region is None
            and label is None
            and kind is None
            and request_class is None
            and stay_with is None
            and not exclude
        ):
            return self._native.pick()
        asked = _Asked(kind, request_class, region, label, key, stay_with, _all(exclude))
        return self._native.pick_for(asked)

    def explain(
        self,
        *,
        key: str | None = None,
        region: str | None = None,
        label: tuple[str, str] | None = None,
        kind: str | None = None,
        request_class: str | None = None,
        stay_with: str | None = None,
        exclude: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Who would be picked, and why: what was weighed and who was left out. It looks at every
        node, and sends nothing.

        ```python
        print(balancer.explain(key="user-7")["selected_node"])
        ```
        """
        asked = _Asked(kind, request_class, region, label, key, stay_with, _all(exclude))
        told: dict[str, Any] = json.loads(self._native.explain(asked))
        return told

    def __len__(self) -> int:
        """How many nodes it knows."""
        return len(self._native)

    def __repr__(self) -> str:
        return f"<Balancer of {len(self)} nodes>"
