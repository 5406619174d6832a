"""The handle on a fog: its nodes, its tasks, and the way to everything else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

from . import _fogcore, _times
from ._balancer import Balancer
from ._bridge import ask, call, dumps, whole
from ._errors import FogError, InvalidInputError, NotFoundError, TaskError, of_kind
from ._events import Events
from ._ledger import Ledger
from ._money import Asset, Money, text
from ._payload import Payload, decode, encode
from ._signaling import Signaling
from ._times import Seconds, moment, span
from ._values import (
    Explanation,
    LogLine,
    Needs,
    Node,
    NodeKind,
    NodeStatus,
    ParentFailure,
    Retry,
    Sla,
    Strategy,
    TaskInfo,
    TaskState,
)
from ._work import NodeHandle

_PAGE = 1_000
_MOST = 2**64 - 1


class SubmittedTask(Protocol):
    """A handle on a task, of `fogcore` or of `fogcore.sync`."""

    @property
    def id(self) -> str:
        """The task's id."""
        ...


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """What is asked, apart from the payload; what `Fog.submit` takes as keywords.

    Attributes:
        kind: What it is about; a node must serve this kind.
        budget: The most that it may cost; reserved while it is open. Needs a `payer`.
        payer: The account that pays.
        needs: What the node must have.
        priority: Higher goes first, -32,768 to 32,767.
        deadline: When it must have been handed to a node, or it fails.
        not_before: It waits until then.
        idempotency_key: Your own name for it: submitted twice, there is one task.
        max_attempts: How many attempts it gets, 1–1,000.
        retry: How long it waits between attempts.
        offline_for: How long its node may be away, and still finish it.
        sla: How often it is done, and so how much its result can be relied on.
        retain_for: How long its result and log are kept after its end.
        after: The tasks that must have ended before it may run, at most 64.
        if_parent_fails: What becomes of it when one of them ends without success.

    >>> TaskRequest(kind="add", max_attempts=1).kind
    'add'
    """

    kind: str
    budget: Money | None = None
    payer: str | None = None
    needs: Needs | None = None
    priority: int = 0
    deadline: datetime | None = None
    not_before: datetime | None = None
    idempotency_key: str | None = None
    max_attempts: int = 3
    retry: Retry | None = None
    offline_for: Seconds | None = None
    sla: Sla = Sla.ONCE
    retain_for: Seconds | None = None
    after: Sequence[str | SubmittedTask] | SubmittedTask = ()
    if_parent_fails: ParentFailure = ParentFailure.CANCEL

    def _json(self, fog: _fogcore.Fog) -> str:
        spec: dict[str, Any] = {"kind": self.kind, "max_attempts": self.max_attempts}
        if self.budget is not None or self.payer is not None:
            # One without the other is for the core to refuse.
            spec["budget"] = {}
            if self.budget is not None:
                spec["budget"]["limit"] = fog.base_units("budget", text(self.budget))
            if self.payer is not None:
                spec["budget"]["payer"] = self.payer
        if self.needs is not None:
            spec["requirements"] = self.needs._json(fog.base_units)
        if self.priority:
            spec["priority"] = self.priority
        if self.deadline is not None:
            spec["deadline"] = moment(self.deadline, "deadline")
        if self.not_before is not None:
            spec["not_before"] = moment(self.not_before, "not_before")
        if self.idempotency_key is not None:
            spec["idempotency_key"] = self.idempotency_key
        if self.retry is not None:
            spec["backoff"] = self.retry._json()
        if self.offline_for is not None:
            spec["offline_for"] = span(self.offline_for, "offline_for")
        if self.sla is not Sla.ONCE:
            spec["sla"] = self.sla
        if self.retain_for is not None:
            spec["retain_for"] = span(self.retain_for, "retain_for")
        if self.after:
            spec["after"] = _ids(self.after)
            spec["if_parent_fails"] = self.if_parent_fails
        return dumps(spec)


def _ids(after: Sequence[str | SubmittedTask] | SubmittedTask) -> list[str]:
    """The ids of tasks; of one alone, not its letters."""
    if not isinstance(after, str) and isinstance(after, Iterable):
        return [_id(task) for task in after]
    return [_id(after)]


def _id(task: Any) -> str:
    id = task if isinstance(task, str) else getattr(task, "id", None)
    if not isinstance(id, str):
        raise TypeError(f"after: a task's handle or id is wanted, not {type(task).__name__}")
    return id


class TaskHandle:
    """A task that was submitted, wherever it is executed.

    ```python
    task = await fog.submit("add", [1, 2, 3])
    print(await task.result())
    print(await task.explain())
    ```
    """

    __slots__ = ("_fog", "id")
    id: str

    def __init__(self, fog: Fog, id: str) -> None:
        self._fog = fog
        self.id = id

    async def info(self) -> TaskInfo:
        """The task as it is now.

        ```python
        info = await task.info()
        print(info.state, info.progress)
        ```
        """
        return self._fog._task(await ask(self._fog._native.task, self.id))

    async def wait(self) -> TaskInfo:
        """Waits until it has ended, and tells how. A wait that is cancelled does it no harm.

        ```python
        info = await task.wait()
        print(info.done_by, info.paid)
        ```
        """
        return self._fog._task(await ask(self._fog._native.wait, self.id))

    async def data(self) -> bytes:
        """Waits until it has ended, and gives the bytes that its executor returned.

        Raises:
            TaskError: It ended without success.
            NotFoundError: Its result is not kept any more.

        ```python
        print(len(await task.data()), "bytes")
        ```
        """
        info = await self.wait()
        if info.state is not TaskState.SUCCEEDED:
            raise TaskError(info)
        data: bytes | None = await call(self._fog._native.result, self.id)
        if data is None:
            raise NotFoundError(f"the result of task {self.id} is not kept any more")
        return data

    async def result(self) -> Any:
        """Waits until it has ended, and gives the JSON value that its executor returned.

        Raises:
            TaskError: It ended without success.
            InvalidInputError: Its executor returned bytes that are no JSON: see `data`.

        ```python
        print(await asyncio.wait_for(task.result(), timeout=60))
        ```
        """
        return decode(await self.data(), "result")

    async def cancel(self) -> TaskInfo:
        """Calls it off: its budget is freed, and whoever is at it is told.

        Raises:
            ConflictError: It ended otherwise.

        ```python
        later = await fog.submit("add", [1, 2], not_before=fog.now + timedelta(hours=1))
        assert (await later.cancel()).state is fogcore.TaskState.CANCELLED
        ```
        """
        return self._fog._task(await ask(self._fog._native.cancel, self.id))

    async def resume(self) -> TaskInfo:
        """Lets it run although one that it waits for ended without success.

        ```python
        bad = await fog.submit("add", ["one"], max_attempts=1)
        hold = fogcore.ParentFailure.HOLD
        held = await fog.submit("add", [1, 2], after=bad, if_parent_fails=hold)
        await bad.wait()
        await held.resume()
        print(await held.result())
        ```
        """
        return self._fog._task(await ask(self._fog._native.resume, self.id))

    async def explain(self) -> Explanation | None:
        """Why its latest lease went where it went; none before the first.

        ```python
        await task.wait()
        print(await task.explain())
        ```
        """
        told = await ask(self._fog._native.explanation, self.id)
        return None if told is None else Explanation._of(told)

    async def log(self, after: int = 0, limit: int = _PAGE) -> list[LogLine]:
        """The lines of its log that are kept, behind the one with the number `after`.

        ```python
        for line in await task.log():
            print(line.number, line.text)
        ```
        """
        lines = await ask(
            self._fog._native.log, self.id, whole(after, "after", _MOST), whole(limit, "limit")
        )
        return [LogLine(line["number"], line["text"]) for line in lines]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id}>"


class Opening:
    """A fog that is being opened: `await` it, or open it with `async with`, which closes it."""

    def __init__(self, url: str, settings: str, seed: int | None) -> None:
        self._asked = (url, settings, seed)
        self._fog: Fog | None = None

    async def _open(self) -> Fog:
        return Fog(await call(_fogcore.open, *self._asked))

    def __await__(self) -> Generator[Any, None, Fog]:
        return self._open().__await__()

    async def __aenter__(self) -> Fog:
        self._fog = await self._open()
        return self._fog

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fog is not None:
            await self._fog.close()


class Fog:
    """A fog: its nodes, tasks and accounts, in this process and all others on the same store.

    ```python
    async with fogcore.Fog.open("sqlite:fog.db") as fog:
        await fog.ledger.mint("alice", "100")
        print(await fog.ledger.account("alice"))
    ```
    """

    def __init__(self, native: _fogcore.Fog) -> None:
        self._native = native
        settings = json.loads(native.settings())
        #: What tasks are paid in.
        self.asset = Asset._of(settings["asset"])
        #: Accounts, transfers and stakes.
        self.ledger = Ledger(native, self.asset)
        #: How peers meet.
        self.signaling = Signaling(native)

    @classmethod
    def open(
        cls,
        url: str = "sqlite:fog.db",
        *,
        lease: Seconds | None = None,
        heartbeat_every: Seconds | None = None,
        idle_poll: Seconds | None = None,
        grace: Seconds | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Opening:
        """Opens the fog on the store that `url` names.

        Args:
            url: ``memory:``, ``sqlite:PATH`` (the file is made if need be) or ``postgres://…``.
            lease: How long a task is a node's before it must say that it is still at it; 30 s
                unless told. A task of a dead node waits this long.
            heartbeat_every: Time between two beats of a serving node; 10 s unless told.
            idle_poll: How long an idle node waits before it asks again; 50 ms unless told.
            grace: How long what runs may go on after closing began; 10 s unless told.
            seed: Makes all chances of this process the same again, for tests.
            settings: Any other setting of the core, by its name; a `timedelta` is a length of
                time: ``{"liveness": {"suspect_after": timedelta(seconds=5)}}``.

        Raises:
            InvalidInputError: A setting that makes no sense, or that there is not.

        ```python
        fog = await fogcore.Fog.open("sqlite:fog.db", lease=60, settings={"event_capacity": 1_000})
        await fog.close()
        ```
        """
        lengths = {
            "lease": lease,
            "heartbeat_every": heartbeat_every,
            "idle_poll": idle_poll,
            "grace": grace,
        }
        if seed is not None:
            whole(seed, "seed", _MOST)
        given = {name: span(each, name) for name, each in lengths.items() if each is not None}
        return Opening(url, dumps({**_times.settings(dict(settings or {})), **given}), seed)

    async def close(self) -> None:
        """Stops: nodes of this process take no more tasks, what runs has its grace to end, the rest
        is given back, whoever waits is told, and the store is let go. Again, it does nothing.

        ```python
        fog = await fogcore.Fog.open("memory:")
        try:
            await fog.register(fogcore.Node("laptop"))
        finally:
            await fog.close()
        ```
        """
        await call(self._native.close)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the core, as they are; lengths of time in seconds and nanoseconds."""
        found: dict[str, Any] = json.loads(self._native.settings())
        return found

    @property
    def now(self) -> datetime:
        """The time of the fog's clock."""
        return _times.of_micros(self._native.now())

    # Nodes

    async def register(self, node: Node) -> NodeHandle:
        """Adds a node, or updates it; opens its owner's account if need be.

        Raises:
            InvalidInputError: What breaks a limit, with the field's name.

        ```python
        rates = fogcore.Rates(per_busy_second="0.001")
        phone = await fog.register(fogcore.Node("phone", owner="bob", cpu_cores=4, rates=rates))
        ```
        """
        if not isinstance(node, Node):
            raise TypeError(f"a Node is registered, not {type(node).__name__}")
        asked = dumps(node._json(self._native.base_units))
        await ask(self._native.register, asked)
        return NodeHandle(self._native, self.asset, node)

    async def node(self, id: str) -> NodeStatus | None:
        """A node as it is now, if it is there.

        ```python
        status = await fog.node("laptop")
        if status is not None and status.liveness is fogcore.Liveness.ONLINE:
            print(status.quality)
        ```
        """
        found = await ask(self._native.node, id)
        return None if found is None else NodeStatus._of(found, self.asset)

    async def nodes(
        self,
        *,
        kind: NodeKind | None = None,
        owner: str | None = None,
        region: str | None = None,
        labels: Mapping[str, str] | None = None,
        serves: str | None = None,
        min_quality: float | None = None,
    ) -> AsyncIterator[NodeStatus]:
        """The nodes that match, by id.

        ```python
        async for status in fog.nodes(serves="add"):
            print(status.node.id, status.liveness)
        ```
        """
        asked = dumps(
            {
                "kind": kind,
                "owner": owner,
                "region": region,
                "labels": dict(labels or {}),
                "serves": serves,
                "min_quality": min_quality,
            }
        )
        after: str | None = None
        while True:
            page = await ask(self._native.nodes, asked, after, _PAGE)
            for each in page:
                yield NodeStatus._of(each, self.asset)
            if len(page) < _PAGE:
                return
            after = page[-1]["node"]["id"]

    async def remove_node(self, id: str) -> bool:
        """Forgets a node; false if it was not there.

        ```python
        assert await fog.remove_node("laptop")
        ```
        """
        removed: bool = await call(self._native.remove_node, id)
        return removed

    # Tasks

    async def submit(
        self,
        kind: str | TaskRequest,
        payload: Payload = None,
        *,
        budget: Money | None = None,
        payer: str | None = None,
        needs: Needs | None = None,
        priority: int = 0,
        deadline: datetime | None = None,
        not_before: datetime | None = None,
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        retry: Retry | None = None,
        offline_for: Seconds | None = None,
        sla: Sla = Sla.ONCE,
        retain_for: Seconds | None = None,
        after: Sequence[str | SubmittedTask] | SubmittedTask = (),
        if_parent_fails: ParentFailure = ParentFailure.CANCEL,
    ) -> TaskHandle:
        """Submits a task; it is in the store when this returns.

        Args:
            kind: What it is about, or a whole `TaskRequest`, which tells what the other keywords
                mean, and then stands alone.
            payload: A JSON value, or bytes, at most 1 MiB.

        Raises:
            InvalidInputError: What breaks a limit, with the field's name.
            ExhaustedError: The payer cannot cover the budget, or too much is waiting.
            ConflictError: Its idempotency key belongs to another submission.

        ```python
        needs = fogcore.Needs(cpu=0.5, memory_mb=512)
        task = await fog.submit("add", [1, 2], budget="0.5", payer="alice", needs=needs)
        ```
        """
        request = TaskRequest(
            kind=kind.kind if isinstance(kind, TaskRequest) else kind,
            budget=budget,
            payer=payer,
            needs=needs,
            priority=priority,
            deadline=deadline,
            not_before=not_before,
            idempotency_key=idempotency_key,
            max_attempts=max_attempts,
            retry=retry,
            offline_for=offline_for,
            sla=sla,
            retain_for=retain_for,
            after=after,
            if_parent_fails=if_parent_fails,
        )
        if isinstance(kind, TaskRequest):
            if request != TaskRequest(kind=kind.kind):
                raise TypeError("a TaskRequest stands alone: its keywords belong into it")
            request = kind
        data = encode(payload, "payload")
        task = await ask(self._native.submit, request._json(self._native), data)
        return TaskHandle(self, task["id"])

    async def submit_all(
        self, submissions: Iterable[tuple[TaskRequest, Payload]]
    ) -> list[TaskHandle | FogError]:
        """Submits up to 1,000 tasks in one durable step, each on its own.

        Returns:
            For each its handle, or the error for which it was not taken in.

        Raises:
            InvalidInputError: They are too many, or one cannot even be sent: then none of them is
                submitted, and `field` says which it is: ``submissions[3].payload``.

        ```python
        request = fogcore.TaskRequest(kind="add")
        for answer in await fog.submit_all([(request, [number, 1]) for number in range(100)]):
            if isinstance(answer, fogcore.FogError):
                raise answer
        ```
        """
        asked = []
        for place, (request, payload) in enumerate(submissions):
            try:
                asked.append((request._json(self._native), encode(payload, "payload")))
            except InvalidInputError as error:
                which = f"submissions[{place}]."
                raise InvalidInputError(which + error.reason, f"{which}{error.field}") from None
        return [
            TaskHandle(self, answer["done"]["id"])
            if "done" in answer
            else of_kind(**answer["refused"], retry_after=None)
            for answer in await ask(self._native.submit_all, asked)
        ]

    def task(self, id: str) -> TaskHandle:
        """The handle on a task that somebody submitted; whether it is there, its methods tell.

        ```python
        print((await fog.task(task.id).info()).state)
        ```
        """
        return TaskHandle(self, id)

    async def tasks(
        self,
        *,
        state: TaskState | None = None,
        kind: str | None = None,
        node: str | None = None,
        payer: str | None = None,
    ) -> AsyncIterator[TaskInfo]:
        """The tasks that match, in the order of submission.

        ```python
        async for info in fog.tasks(state=fogcore.TaskState.FAILED):
            print(info.id, info.failure)
        ```
        """
        asked = dumps({"state": state, "kind": kind, "node": node, "payer": payer})
        after: str | None = None
        while True:
            page = await ask(self._native.tasks, asked, after, _PAGE)
            for each in page:
                yield self._task(each)
            if len(page) < _PAGE:
                return
            after = page[-1]["id"]

    async def task_counts(self) -> dict[TaskState, int]:
        """How many tasks are in each state that has some.

        ```python
        counts = await fog.task_counts()
        print(counts.get(fogcore.TaskState.QUEUED, 0))
        ```
        """
        counts = await ask(self._native.task_counts)
        return {TaskState(state): tasks for state, tasks in counts.items()}

    async def explain(self, request: TaskRequest | str, *, top: int = 5) -> Explanation:
        """Where a task like this one would go now, and why; or what stands in its way.

        ```python
        print(await fog.explain(fogcore.TaskRequest(kind="add", needs=fogcore.Needs(gpus=1))))
        ```
        """
        request = TaskRequest(kind=request) if isinstance(request, str) else request
        told = await ask(self._native.explain, request._json(self._native), whole(top, "top"))
        return Explanation._of(told)

    # The rest

    async def balancer(
        self,
        strategy: Strategy | str = Strategy.ADAPTIVE_INTELLIGENT,
        *,
        subset_keys: Sequence[str] = (),
        classes: Sequence[str] = (),
        slow_start: Seconds | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Balancer:
        """A balancer over this fog's nodes, which follows them as long as it is there.

        Args:
            strategy: How it chooses.
            subset_keys: Keys of the labels by which requests may ask for a part of the nodes.
            classes: Names of request classes; each has its own breaker on each node.
            slow_start: For how long the share of a new or recovered node grows; 10 s unless told.
            settings: Any other setting of the core's balancer, by its name.

        ```python
        balancer = await fog.balancer(fogcore.Strategy.CONSISTENT_HASH, subset_keys=["game"])
        with balancer.pick(key="match-7") as picked:
            print(picked.node)
        ```
        """
        policy: dict[str, Any] = _times.settings(dict(settings or {}))
        policy |= {"subset_keys": list(subset_keys), "classes": list(classes)}
        if slow_start is not None:
            policy["slow_start"] = span(slow_start, "slow_start")
        return Balancer(await call(self._native.balancer, dumps(policy), str(strategy)))

    def events(self, *kinds: str) -> Events:
        """What happens in this process's fog from now on; of these kinds, or all.

        ```python
        async for event in fog.events("task_succeeded"):
            print(event.task, event.data["paid"])
        ```
        """
        return Events(self._native.events(), frozenset(kinds), self.asset)

    def _task(self, json: Any) -> TaskInfo:
        return TaskInfo._of(json, self.asset)

    def __repr__(self) -> str:
        return f"<Fog {self.asset.code}>"
