"""fogcore without asyncio: the same classes, whose methods wait.

Each fog has an event loop in a thread of its own, and every method is the asynchronous one, run
there. So there is one implementation, and what `fogcore` documents holds here, without `await`.

>>> import fogcore.sync
>>> with fogcore.sync.Fog.open("memory:") as fog:
...     node = fog.register(fogcore.Node("laptop"))
...     @node.executor("add")
...     def add(task: fogcore.Task) -> int:
...         return sum(task.payload)
...     with node.serve(concurrency=2):
...         fog.submit("add", [1, 2, 3]).result()
6

Executors that are no coroutine functions run in threads of their own. A Ctrl-C while a method waits
gives the call up, as a cancellation does in asyncio.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _events, _fog, _ledger, _signaling, _work
from ._errors import FogError, UnavailableError
from ._events import Event
from ._money import Asset
from ._signaling import Delivery
from ._times import Seconds
from ._values import Node, Vitals

if TYPE_CHECKING:
    from typing import Concatenate

    from typing_extensions import ParamSpec, Self

    _P = ParamSpec("_P")

_R = TypeVar("_R")
_Inner = TypeVar("_Inner")
_T = TypeVar("_T")
_Function = TypeVar("_Function", bound=Callable[..., Any])

_CLOSED = "this fog was closed"
# Seconds that work has to end after it was called off.
_TO_END = 1.0


class _Portal:
    """An event loop in a thread of its own, and the way into it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # Nothing is given to a loop that was told to stop: nobody would ever hear of it.
        self._giving = threading.Lock()
        self._closing = False
        # A daemon: a fog that was not closed does not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._serve, name="fogcore-loop", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    async def _end(self) -> None:
        """Whoever still waits for something is told that there is nothing to come."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            # An executor may not heed it.
            await asyncio.wait(left, timeout=_TO_END)
        await self._loop.shutdown_asyncgens()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Runs the work in the loop, and waits for it; interrupted, it cancels the work."""
        try:
            if os.getpid() != self._process:
                why = "this belongs to the process before the fork: open a fog after forking"
                raise UnavailableError(why)
            if threading.current_thread() is self._thread:
                raise RuntimeError("within the loop of a fog, use what fogcore has for asyncio")
            with self._giving:
                if self._closing:
                    raise UnavailableError(_CLOSED)
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except BaseException:
            work.close()
            raise
        try:
            return future.result()
        except BaseException as error:
            ended = future.cancelled() and self._closing
            future.cancel()
            if ended and isinstance(error, CancelledError):
                raise UnavailableError(_CLOSED) from None
            raise

    @property
    def is_closed(self) -> bool:
        """Whether the loop has ended, or is about to."""
        return self._closing

    def close(self) -> None:
        """Ends the loop and its thread."""
        with self._giving:
            if not self._closing:
                self._closing = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class _Sync(Generic[_Inner]):
    """Something asynchronous, and the loop that it lives in."""

    def __init__(self, portal: _Portal, inner: _Inner) -> None:
        self._portal = portal
        self._inner = inner

    def __repr__(self) -> str:
        return repr(self._inner)


def _waits(
    method: Callable[Concatenate[_Inner, _P], Coroutine[Any, Any, _R]],
) -> Callable[Concatenate[_Sync[_Inner], _P], _R]:
    """The method, waiting."""

    @functools.wraps(method)
    def wait(self: _Sync[_Inner], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return self._portal.run(method(self._inner, *args, **kwargs))

    return wait


def _makes(
    method: Callable[Concatenate[_Inner, _P], Coroutine[Any, Any, _R]],
    made: Callable[[_Portal, _R], _T],
) -> Callable[Concatenate[_Sync[_Inner], _P], _T]:
    """The method, waiting; what it gives has methods that wait."""

    @functools.wraps(method)
    def wait(self: _Sync[_Inner], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return made(self._portal, self._portal.run(method(self._inner, *args, **kwargs)))

    return wait


def _each(
    method: Callable[Concatenate[_Inner, _P], AsyncIterator[_R]],
) -> Callable[Concatenate[_Sync[_Inner], _P], Iterator[_R]]:
    """The iterator, waiting."""

    @functools.wraps(method)
    def iterate(self: _Sync[_Inner], /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_R]:
        return _iterate(self._portal, method(self._inner, *args, **kwargs))

    return iterate


def _iterate(portal: _Portal, values: AsyncIterator[_T]) -> Iterator[_T]:
    async def following() -> tuple[_T] | None:
        try:
            return (await values.__anext__(),)
        except StopAsyncIteration:
            return None

    while (value := portal.run(following())) is not None:
        yield value[0]


def _told_as(other: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """What it does is told where the asynchronous one is."""

    def told(function: _Function) -> _Function:
        function.__doc__ = other.__doc__
        return function

    return told


class TaskHandle(_Sync[_fog.TaskHandle]):
    """A task that was submitted, wherever it is executed."""

    @property
    def id(self) -> str:
        """Its id."""
        return self._inner.id

    info = _waits(_fog.TaskHandle.info)
    wait = _waits(_fog.TaskHandle.wait)
    data = _waits(_fog.TaskHandle.data)
    result = _waits(_fog.TaskHandle.result)
    cancel = _waits(_fog.TaskHandle.cancel)
    resume = _waits(_fog.TaskHandle.resume)
    explain = _waits(_fog.TaskHandle.explain)
    log = _waits(_fog.TaskHandle.log)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)


class Serving(_Sync[_work.Serving]):
    """A node at work, within `with`."""

    start = _waits(_work.Serving.start)
    stop = _waits(_work.Serving.stop)
    abort = _waits(_work.Serving.abort)

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return self._inner.running

    @property
    def succeeded(self) -> int:
        """How many attempts succeeded."""
        return self._inner.succeeded

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return self._inner.failed

    @property
    def given_up(self) -> int:
        """How many attempts were called off, or given back."""
        return self._inner.given_up

    def update(self, vitals: Vitals) -> None:
        """How the node is from now on."""
        self._inner.update(vitals)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._portal.run(self._inner.__aexit__(exc_type, exc, traceback))


class NodeHandle(_Sync[_work.NodeHandle]):
    """A node that was registered by this process."""

    @property
    def id(self) -> str:
        """Its id."""
        return self._inner.id

    @property
    def node(self) -> Node:
        """The node as it was registered."""
        return self._inner.node

    @_told_as(_work.NodeHandle.executor)
    def executor(
        self, kind: str, *, timeout: Seconds | None = None
    ) -> Callable[[_Function], _Function]:
        return self._inner.executor(kind, timeout=timeout)

    @_told_as(_work.NodeHandle.serve)
    def serve(self, concurrency: int | None = None, *, progress: bool = False) -> Serving:
        return Serving(self._portal, self._inner.serve(concurrency, progress=progress))

    serve_forever = _waits(_work.NodeHandle.serve_forever)
    beat = _waits(_work.NodeHandle.beat)
    status = _waits(_work.NodeHandle.status)
    remove = _waits(_work.NodeHandle.remove)


class Ledger(_Sync[_ledger.Ledger]):
    """The ledger of a fog."""

    open_account = _waits(_ledger.Ledger.open_account)
    account = _waits(_ledger.Ledger.account)
    accounts = _each(_ledger.Ledger.accounts)
    mint = _waits(_ledger.Ledger.mint)
    transfer = _waits(_ledger.Ledger.transfer)
    hold = _waits(_ledger.Ledger.hold)
    post = _waits(_ledger.Ledger.post)
    void = _waits(_ledger.Ledger.void)
    transfer_all = _waits(_ledger.Ledger.transfer_all)
    posted = _waits(_ledger.Ledger.posted)
    transfers = _each(_ledger.Ledger.transfers)
    trial_balance = _waits(_ledger.Ledger.trial_balance)
    verify = _waits(_ledger.Ledger.verify)
    stake_of = _waits(_ledger.Ledger.stake_of)
    stake = _waits(_ledger.Ledger.stake)
    unstake = _waits(_ledger.Ledger.unstake)
    withdraw = _waits(_ledger.Ledger.withdraw)


class PeerConnection(_Sync[_signaling.PeerConnection]):
    """A peer's connection to a session: an iterator over what it hears."""

    @property
    def token(self) -> str:
        """What the peer resumes with after its connection dropped. A secret."""
        return self._inner.token

    @property
    def heard(self) -> int:
        """The number of the latest delivery that was heard."""
        return self._inner.heard

    receive = _waits(_signaling.PeerConnection.receive)
    send = _waits(_signaling.PeerConnection.send)
    leave = _waits(_signaling.PeerConnection.leave)
    drop = _waits(_signaling.PeerConnection.drop)

    def __iter__(self) -> Iterator[Delivery]:
        return _iterate(self._portal, self._inner)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()


class Signaling(_Sync[_signaling.Signaling]):
    """The signaling of a fog."""

    put_zone = _waits(_signaling.Signaling.put_zone)
    zones = _waits(_signaling.Signaling.zones)
    remove_zone = _waits(_signaling.Signaling.remove_zone)
    open_session = _waits(_signaling.Signaling.open_session)
    session = _waits(_signaling.Signaling.session)
    activate = _waits(_signaling.Signaling.activate)
    end_session = _waits(_signaling.Signaling.end_session)
    connect = _makes(_signaling.Signaling.connect, PeerConnection)
    resume = _makes(_signaling.Signaling.resume, PeerConnection)
    put_mail = _waits(_signaling.Signaling.put_mail)
    mail = _waits(_signaling.Signaling.mail)


class Events(_Sync[_events.Events]):
    """Events, as an iterator that waits for the next one."""

    def __iter__(self) -> Iterator[Event]:
        return _iterate(self._portal, self._inner)


def _handles(
    portal: _Portal, answers: list[_fog.TaskHandle | FogError]
) -> list[TaskHandle | FogError]:
    return [TaskHandle(portal, one) if isinstance(one, _fog.TaskHandle) else one for one in answers]


class Fog(_Sync[_fog.Fog]):
    """A fog: its nodes, tasks and accounts, in this process and all others on the same store."""

    def __init__(self, portal: _Portal, inner: _fog.Fog) -> None:
        super().__init__(portal, inner)
        #: What tasks are paid in.
        self.asset: Asset = inner.asset
        #: Accounts, transfers and stakes.
        self.ledger = Ledger(portal, inner.ledger)
        #: How peers meet.
        self.signaling = Signaling(portal, inner.signaling)

    @classmethod
    @_told_as(_fog.Fog.open)
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
    ) -> Fog:
        opening = _fog.Fog.open(
            url,
            lease=lease,
            heartbeat_every=heartbeat_every,
            idle_poll=idle_poll,
            grace=grace,
            seed=seed,
            settings=settings,
        )
        portal = _Portal()
        try:
            return cls(portal, portal.run(opening._open()))
        except BaseException:
            portal.close()
            raise

    def close(self) -> None:
        """Stops, as `fogcore.Fog.close` does. Again, it does nothing."""
        try:
            self._portal.run(self._inner.close())
        except UnavailableError:
            # Another thread may have closed it.
            if not self._portal.is_closed:
                raise
        self._portal.close()

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the core, as they are."""
        return self._inner.settings

    @property
    def now(self) -> datetime:
        """The time of the fog's clock."""
        return self._inner.now

    register = _makes(_fog.Fog.register, NodeHandle)
    node = _waits(_fog.Fog.node)
    nodes = _each(_fog.Fog.nodes)
    remove_node = _waits(_fog.Fog.remove_node)
    submit = _makes(_fog.Fog.submit, TaskHandle)
    submit_all = _makes(_fog.Fog.submit_all, _handles)
    tasks = _each(_fog.Fog.tasks)
    task_counts = _waits(_fog.Fog.task_counts)
    explain = _waits(_fog.Fog.explain)
    balancer = _waits(_fog.Fog.balancer)

    def task(self, id: str) -> TaskHandle:
        """The handle on a task that somebody submitted."""
        return TaskHandle(self._portal, self._inner.task(id))

    def events(self, *kinds: str) -> Events:
        """What happens in this process's fog from now on; of these kinds, or all."""
        return Events(self._portal, self._inner.events(*kinds))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
