"""What calls cost from Python. `cargo xtask bench python` runs it and collects its lines.

Each figure is the best of several rounds after a warm-up: what the code can do when the machine
lets it. The figures named `rust_…` come from the same work in Rust, in the same run. Tasks do
nothing, and 500 of them are under way at once: ours are durable in SQLite, those of dask and ray
are in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import fogcore

ROUNDS = 7
TASKS = 500
# A batch is one flush of the disk, whose time varies more than anything else: many are tried.
BATCHES = 40


def tell(name: str, per_second: float, unit: str) -> None:
    """Prints a figure."""
    print(f"figure python.{name} {per_second:.0f} {unit}", flush=True)


def best(count: int, work: Callable[[int], object]) -> float:
    """How much of it is done in a second, in the best round."""
    shortest = float("inf")
    for number in range(ROUNDS + 1):
        begun = time.perf_counter()
        work(count)
        taken = time.perf_counter() - begun
        # The first round warms up.
        if number:
            shortest = min(shortest, taken)
    return count / shortest


async def best_async(
    count: int, work: Callable[[int], Awaitable[object]], rounds: int = ROUNDS
) -> float:
    """As `best`, of work that waits."""
    shortest = float("inf")
    for number in range(rounds + 1):
        begun = time.perf_counter()
        await work(count)
        taken = time.perf_counter() - begun
        if number:
            shortest = min(shortest, taken)
    return count / shortest


def noop() -> None:
    """Does nothing."""


def breakers() -> None:
    """A call that succeeds, through a closed breaker."""
    import purgatory
    import pybreaker

    def calls(call: Callable[[Callable[[], None]], object]) -> Callable[[int], None]:
        def run(count: int) -> None:
            for _ in range(count):
                call(noop)

        return run

    def guarded(function: Callable[[], None]) -> Callable[[int], None]:
        def run(count: int) -> None:
            for _ in range(count):
                function()

        return run

    ours, theirs = fogcore.Breaker(), pybreaker.CircuitBreaker()
    factory = purgatory.SyncCircuitBreakerFactory()
    count = 100_000
    tell("breaker_call", best(count, calls(ours.call)), "calls/s")
    tell("pybreaker_call", best(count, calls(theirs.call)), "calls/s")
    tell("breaker_decorated", best(count, guarded(ours(noop))), "calls/s")
    tell("pybreaker_decorated", best(count, guarded(theirs(noop))), "calls/s")
    tell("purgatory_decorated", best(count // 10, guarded(factory("bench")(noop))), "calls/s")


async def picks(fog: fogcore.Fog) -> None:
    """A pick among 100 nodes whose request succeeds."""
    for number in range(100):
        await fog.register(fogcore.Node(f"node-{number}"))
    balancer = await fog.balancer()

    def run(count: int) -> None:
        for _ in range(count):
            with balancer.pick():
                pass

    tell("pick", best(100_000, run), "picks/s")


async def transfers(fog: fogcore.Fog) -> None:
    """A batch: making it, applying it, and looking for what was refused."""
    await fog.ledger.mint("ann", "1000000")
    await fog.ledger.open_account("bob")

    async def run(count: int) -> None:
        batch = [fogcore.Transfer.direct("ann", "bob", "0.1") for _ in range(count)]
        (await fog.ledger.transfer_all(batch)).check()

    count = fogcore.MAX_BATCH
    tell("transfer_batch8190", await best_async(count, run, BATCHES), "transfers/s")


async def roundtrip(fog: fogcore.Fog, kind: str, count: int) -> None:
    """So many tasks, each submitted by itself, all at once."""

    async def one() -> None:
        await (await fog.submit(kind)).result()

    await asyncio.gather(*(one() for _ in range(count)))


async def tasks(fog: fogcore.Fog) -> None:
    """Tasks that this process does itself."""
    node = await fog.register(fogcore.Node("here"))

    @node.executor("here")
    async def here(task: fogcore.Task) -> None: ...

    async with node.serve(concurrency=64):
        each = await best_async(TASKS, lambda count: roundtrip(fog, "here", count))
        tell("task_roundtrip", each, "tasks/s")


async def serve(database: str) -> None:
    """The other process of `remote_tasks`."""
    async with fogcore.Fog.open(database, idle_poll=0.005) as fog:
        node = await fog.register(fogcore.Node("there"))

        @node.executor("there")
        async def there(task: fogcore.Task) -> None: ...

        async with node.serve(concurrency=64):
            print("serving", flush=True)
            await asyncio.get_running_loop().create_future()


@contextlib.contextmanager
def other_process(database: str) -> Iterator[None]:
    """A process that serves."""
    command = [sys.executable, __file__, "serve", database]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "serving\n"
            yield
        finally:
            process.kill()


async def remote_tasks(fog: fogcore.Fog, database: str) -> None:
    """Tasks that another process does."""
    with other_process(database):
        each = await best_async(TASKS, lambda count: roundtrip(fog, "there", count))
        tell("task_roundtrip_remote", each, "tasks/s")


def dask() -> None:
    """The same tasks with dask.distributed: its workers in this process, and in others."""
    from distributed import Client

    for name, processes in (("dask_roundtrip", False), ("dask_roundtrip_remote", True)):
        with Client(
            processes=processes, n_workers=1, threads_per_worker=4, dashboard_address=None
        ) as client:

            def run(count: int, client: Client = client) -> None:
                client.gather([client.submit(noop, pure=False) for _ in range(count)])

            tell(name, best(TASKS, run), "tasks/s")


def rays() -> None:
    """The same tasks with ray, whose workers are always other processes."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    remote = ray.remote(noop)

    def run(count: int) -> None:
        ray.get([remote.remote() for _ in range(count)])

    tell("ray_roundtrip_remote", best(TASKS, run), "tasks/s")
    ray.shutdown()


async def ours(database: str) -> None:
    """Everything of fogcore."""
    async with fogcore.Fog.open(database, idle_poll=0.005) as fog:
        await picks(fog)
        await transfers(fog)
        await tasks(fog)
        await remote_tasks(fog, database)


def main() -> None:
    """Measures all."""
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(sys.argv[2]))
        return
    breakers()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(ours(f"sqlite:{Path(folder) / 'fog.db'}"))
    dask()
    rays()


if __name__ == "__main__":
    main()
