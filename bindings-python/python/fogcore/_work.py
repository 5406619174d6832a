"""A node at work: executors, and what they are given."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from . import _fogcore
from ._bridge import Bridge, ask, call, dumps
from ._errors import FogError, NotFoundError, PermanentFailure, TransientFailure
from ._money import Asset
from ._payload import Bytes, Payload, decode, encode
from ._times import Seconds, of_micros, span
from ._values import Node, NodeStatus, Vitals

# The core keeps more of a failure than anybody reads; the end of a traceback is what tells.
_MOST_TRACEBACK = 8_000


@dataclass(frozen=True)
class Output:
    """What an executor returns if it has more to say than a result.

    Attributes:
        result: A JSON value, or bytes, at most 1 MiB.
        bytes_moved: How many bytes were moved, for the price.
        score: How good the result is, if results of such tasks can be better or worse.

    ```python
    @node.executor("crawl")
    def crawl(task: fogcore.Task) -> fogcore.Output:
        return fogcore.Output({"pages": 7}, bytes_moved=70_000)
    ```
    """

    result: Payload
    bytes_moved: int | None = None
    score: int | None = None


class _Done:
    """Awaits to nothing, so that what is done at once can be awaited, and need not be."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()


class Task:
    """One attempt at a task, as its executor sees it.

    Attributes:
        id: The task.
        kind: What it is about.
        attempt: The attempt, from 1.
        data: The bytes that it is asked with.
        checkpoint: What an attempt before this one saved.
        parents: The tasks that had to end before this one.

    ```python
    @node.executor("sum")
    async def sums(task: fogcore.Task) -> float:
        await task.progress(0.5, "half of it")
        return sum(task.payload)
    ```
    """

    def __init__(self, job: _fogcore.Job, loop: asyncio.AbstractEventLoop) -> None:
        self._job = job
        self._loop = loop
        self._given_up = False
        self.id: str = job.task
        self.kind: str = job.kind
        self.attempt: int = job.attempt
        self.data: bytes = job.payload
        self.checkpoint: bytes | None = job.checkpoint
        self.parents: list[str] = job.parents

    @functools.cached_property
    def payload(self) -> Any:
        """The JSON value that it is asked with.

        Raises:
            InvalidInputError: It was submitted with bytes that are no JSON: see `data`.
        """
        return decode(self.data, "payload")

    def progress(self, done: float, note: str = "") -> Awaitable[None]:
        """Tells how far it is, 0–1, with a note of up to 256 characters. It need not be awaited.

        ```python
        @node.executor("count")
        def count(task: fogcore.Task) -> int:
            for done in range(10):
                task.progress(done / 10, f"step {done}")
            return 10
        ```
        """
        self._job.report(done, note)
        return _DONE

    def log(self, line: str) -> None:
        """Writes a line of up to 1,024 bytes into the task's log.

        ```python
        @node.executor("count")
        def count(task: fogcore.Task) -> int:
            task.log(f"attempt {task.attempt}")
            return 1
        ```
        """
        self._job.log(line)

    def save(self, checkpoint: Bytes) -> None:
        """Saves what the next attempt should begin with, at most 1 MiB, if this one fails.

        ```python
        @node.executor("count")
        def count(task: fogcore.Task) -> int:
            begun = int(task.checkpoint or b"0")
            for done in range(begun, 10):
                task.save(str(done).encode())
            return 10
        ```
        """
        self._job.save(bytes(checkpoint))

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the answer any more. A function that is not asynchronous cannot be
        interrupted, and should look at this now and then."""
        return self._given_up or self._job.cancelled

    @property
    def throttled(self) -> bool:
        """Whether the node is so warm that the work should do less."""
        return self._job.throttled

    @property
    def stop_by(self) -> datetime | None:
        """Until when it should have ended, if its node is wanted for something else. It should
        save what it did and raise any exception, which then does not count."""
        stop_by = self._job.stop_by
        return None if stop_by is None else of_micros(stop_by)

    async def data_of(self, parent: str) -> bytes:
        """The bytes that one of its parents gave.

        Raises:
            NotFoundError: It did not succeed.
            InvalidInputError: It is no parent of this task.

        ```python
        @node.executor("join")
        async def join(task: fogcore.Task) -> bytes:
            return b"".join([await task.data_of(parent) for parent in task.parents])
        ```
        """
        data: bytes | None = await call(self._job.result_of, parent)
        if data is None:
            raise NotFoundError(f"task {parent} gave nothing")
        return data

    async def result_of(self, parent: str) -> Any:
        """The JSON value that one of its parents gave.

        ```python
        @node.executor("total")
        async def total(task: fogcore.Task) -> int:
            return sum([await task.result_of(parent) for parent in task.parents])
        ```
        """
        return decode(await self.data_of(parent), "result")

    def wait_for_result_of(self, parent: str) -> Any:
        """As `result_of`, for functions that are not asynchronous.

        ```python
        @node.executor("total")
        def total(task: fogcore.Task) -> int:
            return sum(task.wait_for_result_of(parent) for parent in task.parents)
        ```
        """
        return asyncio.run_coroutine_threadsafe(self.result_of(parent), self._loop).result()

    def __repr__(self) -> str:
        return f"<Task {self.id} of kind {self.kind!r}, attempt {self.attempt}>"


Executor = Callable[[Task], Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class _Registered:
    function: Executor
    timeout: float | None

    async def __call__(self, task: Task) -> Any:
        run = _in_loop if inspect.iscoroutinefunction(self.function) else _in_thread
        if self.timeout is None:
            return await run(self.function, task)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            return await asyncio.wait_for(run(self.function, task), self.timeout)
        except asyncio.TimeoutError:
            # Before its time, it is the function's own.
            if loop.time() - begun < self.timeout:
                raise
            raise TransientFailure(f"it took longer than {self.timeout:g} s") from None


async def _in_loop(function: Executor, task: Task) -> Any:
    return await function(task)


async def _in_thread(function: Executor, task: Task) -> Any:
    """Runs a function in a thread of its own: one that hangs keeps nobody else, not even the
    interpreter when it ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def tell(set: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            set(value)

    def run() -> None:
        try:
            outcome = (future.set_result, context.run(function, task))
        except BaseException as error:
            # What ends a thread, or a generator, must not end the event loop.
            harmless = isinstance(error, Exception) and not isinstance(error, StopIteration)
            error = error if harmless else RuntimeError(repr(error))
            outcome = (future.set_exception, error)
        # A loop that was closed waits for nothing.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=run, name=f"fogcore-{task.kind}", daemon=True).start()
    try:
        value = await future
    except asyncio.CancelledError:
        task._given_up = True
        raise
    return await value if inspect.isawaitable(value) else value


class NodeHandle:
    """A node that was registered by this process.

    ```python
    node = await fog.register(fogcore.Node("laptop", cpu_cores=8))

    @node.executor("add")
    async def add(task: fogcore.Task) -> int:
        return sum(task.payload)

    async with node.serve(concurrency=4):
        ...
    ```
    """

    def __init__(self, fog: _fogcore.Fog, asset: Asset, node: Node) -> None:
        self._fog = fog
        self._asset = asset
        self._executors: dict[str, _Registered] = {}
        self._beats = 0
        #: The node as it was registered.
        self.node = node

    @property
    def id(self) -> str:
        """Its id."""
        return self.node.id

    def executor(
        self, kind: str, *, timeout: Seconds | None = None
    ) -> Callable[[_Function], _Function]:
        """Executes tasks of this kind with the function from the next `serve` on.

        The function is given the `Task`. An asynchronous one runs in the event loop, and is
        cancelled when its work is not wanted any more; any other runs in a thread of its own. What
        it returns (a JSON value, bytes or an `Output`) is the task's result. What it raises fails
        the attempt: `PermanentFailure` for good, everything else so that another may be made.

        Args:
            kind: The kind of tasks.
            timeout: After how long an attempt is given up, and fails.

        ```python
        @node.executor("upper", timeout=30)
        def upper(task: fogcore.Task) -> str:
            return str(task.payload).upper()
        ```
        """
        seconds = None if timeout is None else _seconds(timeout)

        def register(function: _Function) -> _Function:
            self._executors[kind] = _Registered(function, seconds)
            return function

        return register

    def serve(self, concurrency: int | None = None, *, progress: bool = False) -> Serving:
        """Serves tasks of the kinds that it has executors for, as long as the block lasts.

        Args:
            concurrency: How many tasks at once; as many as its `slots`, or one, unless told.
            progress: Shows a bar (of the package `tqdm`) with what was done, in Jupyter as well.

        ```python
        async with phone.serve(concurrency=4) as work:
            print(work.running, work.succeeded, work.failed)
        ```
        """
        return Serving(self, concurrency, progress)

    async def serve_forever(
        self, concurrency: int | None = None, *, progress: bool = False
    ) -> None:
        """Serves until it is cancelled, by Ctrl-C or otherwise.

        ```python
        serving = asyncio.create_task(phone.serve_forever(concurrency=4))
        serving.cancel()
        ```
        """
        async with self.serve(concurrency, progress=progress):
            await asyncio.get_running_loop().create_future()

    async def beat(self, vitals: Vitals = Vitals()) -> NodeStatus:
        """Tells that the node is there, and how it is. A node that serves beats by itself.

        ```python
        status = await phone.beat(fogcore.Vitals(cpu=25, latency=12))
        print(status.quality)
        ```
        """
        self._beats += 1
        beat = dumps(vitals._json(self._beats))
        return NodeStatus._of(await ask(self._fog.beat, self.id, beat), self._asset)

    async def status(self) -> NodeStatus:
        """The node with what is known of it.

        Raises:
            NotFoundError: It was removed.

        ```python
        print((await node.status()).liveness)
        ```
        """
        found = await ask(self._fog.node, self.id)
        if found is None:
            raise NotFoundError(f"there is no node {self.id}")
        return NodeStatus._of(found, self._asset)

    async def remove(self) -> bool:
        """Forgets the node; false if it was not there.

        ```python
        assert await phone.remove()
        ```
        """
        removed: bool = await call(self._fog.remove_node, self.id)
        return removed

    def __repr__(self) -> str:
        return f"<NodeHandle {self.id!r}>"


def _seconds(time: Seconds) -> float:
    told = span(time, "timeout")
    return told["secs"] + told["nanos"] / 1e9


class Serving:
    """A node at work, within `async with`.

    Attributes:
        running: How many attempts are being made.
        succeeded: How many succeeded.
        failed: How many failed.
        given_up: How many were called off, or given back.

    ```python
    async with phone.serve() as work:
        work.update(fogcore.Vitals(power=fogcore.Power(battery=80)))
        print(work)
    ```
    """

    def __init__(self, node: NodeHandle, concurrency: int | None, progress: bool) -> None:
        self._node = node
        self._concurrency = concurrency
        self._executors = dict(node._executors)
        self._bar: Any = _bar(node.id) if progress else None
        self._worker: _fogcore.Worker | None = None
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self.succeeded = 0
        self.failed = 0
        self.given_up = 0

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return len(self._jobs)

    async def start(self) -> None:
        """Begins to work; `async with` does it.

        ```python
        work = phone.serve()
        await work.start()
        await work.stop()
        ```
        """
        if self._worker is not None:
            raise RuntimeError(f"{self!r} serves already")
        node, fog = self._node.node, self._node._fog
        asked = node._json(fog.base_units)
        if self._concurrency is not None:
            asked["slots"] = self._concurrency
        bridge = Bridge.here()
        number, jobs = fog.serve(bridge.native, dumps(asked), list(self._executors))
        bridge.handle(jobs, self._take)
        self._forget: Callable[[], None] = functools.partial(bridge.unhandle, jobs)
        try:
            self._worker = await bridge.answer(number)
        except BaseException:
            self._forget()
            raise
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        """Whoever ends an event loop cancels what is left in it: then nobody does jobs any more."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            if self._worker is not None:
                # Given back without a word, it stops by itself.
                self._worker = None
                self._end()

    def update(self, vitals: Vitals) -> None:
        """How the node is from now on: told with its next heartbeat, and looked at before it asks
        for more work.

        ```python
        async with phone.serve() as work:
            work.update(fogcore.Vitals(power=fogcore.Power(temperature=46)))
        ```
        """
        if self._worker is not None:
            self._worker.update(dumps(vitals._json(0)))

    async def stop(self) -> None:
        """Takes no more tasks, lets what runs end within the fog's grace, gives back the rest, and
        returns when no task is leased to the node any more.

        ```python
        work = phone.serve()
        await work.start()
        await work.stop()
        assert work.running == 0
        ```
        """
        worker, self._worker = self._worker, None
        if worker is not None:
            self._keeper.cancel()
            try:
                await call(worker.stop)
            finally:
                self._end()

    async def abort(self) -> None:
        """Cancels what runs, gives it back, and stops.

        ```python
        work = phone.serve()
        await work.start()
        await work.abort()
        ```
        """
        for job in list(self._jobs.values()):
            job.cancel()
        await self.stop()

    def _end(self) -> None:
        for job in list(self._jobs.values()):
            job.cancel()
        self._forget()
        if self._bar is not None:
            self._bar.close()

    def _take(self, job: Any) -> None:
        """A job, or the number of one that is called off."""
        if isinstance(job, int):
            running = self._jobs.get(job)
            if running is not None:
                running.cancel()
            return
        number = job.number
        running = asyncio.get_running_loop().create_task(self._run(job))
        self._jobs[number] = running
        # Not within: one that is called off before it began never runs.
        running.add_done_callback(lambda _: self._ended(number))

    def _ended(self, number: int) -> None:
        self._jobs.pop(number, None)
        if self._bar is not None:
            self._bar.set_postfix(running=self.running, failed=self.failed, refresh=False)
            self._bar.update()

    async def _run(self, job: _fogcore.Job) -> None:
        try:
            task = Task(job, asyncio.get_running_loop())
            output = await self._executors[job.kind](task)
            if not isinstance(output, Output):
                output = Output(output)
            job.succeed(encode(output.result, "result"), output.bytes_moved, output.score)
            self.succeeded += 1
        except asyncio.CancelledError:
            # Called off by the fog, or because this node goes away: no fault of the task's.
            self.given_up += 1
            job.give_back("the executor was cancelled")
        except KeyboardInterrupt:
            self.given_up += 1
            job.give_back("the executor was interrupted")
            # Only in the main thread was it a person.
            if threading.current_thread() is threading.main_thread():
                raise
        except BaseException as error:
            self.failed += 1
            permanent = isinstance(error, PermanentFailure) or _bad_result(error)
            job.fail(_told(error), permanent)

    async def __aenter__(self) -> Serving:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Interrupted or cancelled, nobody wants to wait for what runs.
        if exc is not None and not isinstance(exc, Exception):
            await self.abort()
        else:
            await self.stop()

    def __repr__(self) -> str:
        return (
            f"<Serving {self._node.id!r}: {self.running} running, {self.succeeded} succeeded, "
            f"{self.failed} failed, {self.given_up} given up>"
        )


def _bad_result(error: BaseException) -> bool:
    """Whether an executor returned what no attempt could give."""
    return isinstance(error, FogError) and error.field == "result"


def _told(error: BaseException) -> str:
    """What is told of an exception: its type, what it says, and where it came from."""
    if isinstance(error, (PermanentFailure, TransientFailure)):
        return str(error) or type(error).__name__
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    what = traceback.format_exception_only(type(error), error)[-1].strip()
    return f"{what}\n\n{trace[-_MOST_TRACEBACK:]}"


def _bar(node: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        why = "progress needs the package tqdm: pip install 'fogcore[progress]'"
        raise ImportError(why) from None
    return tqdm(desc=node, unit=" tasks")
