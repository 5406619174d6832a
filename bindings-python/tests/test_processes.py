"""Real processes: two on one database, one that is killed, forks, interrupts, ends in mid-work."""

from __future__ import annotations

import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fogcore
import pytest

# How many rounds of killing: few in the test command, many for figures.
ROUNDS = int(os.environ.get("FOGCORE_PYTHON_KILLS", "2"))
LIMIT = 60


@contextmanager
def python(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another interpreter that runs this, and does not outlive the block."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ends(code: str, *arguments: str) -> tuple[int, str, str]:
    """How an interpreter that runs this ends, and what it says."""
    with python(code, *arguments) as process:
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err


SERVES = """
    import asyncio, sys
    import fogcore

    async def main(database, name):
        async with fogcore.Fog.open(database, idle_poll=0.005, lease=0.5) as fog:
            node = await fog.register(fogcore.Node(name))

            @node.executor("double")
            async def double(task):
                await asyncio.sleep(0.001)
                return 2 * task.payload

            async with node.serve(concurrency=8):
                print("serving", flush=True)
                await asyncio.Event().wait()

    asyncio.run(main(*sys.argv[1:]))
"""


def begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "serving\n", process.stderr and process.stderr.read()


async def test_two_processes_share_a_database(database: str) -> None:
    with python(SERVES, database, "other") as other:
        begun(other)
        async with fogcore.Fog.open(database) as fog:
            tasks = [await fog.submit("double", number) for number in range(20)]
            assert [await task.result() for task in tasks] == [2 * n for n in range(20)]
            assert (await tasks[0].info()).done_by == "other"


async def test_the_work_of_a_killed_process_is_done_by_another(database: str) -> None:
    async with fogcore.Fog.open(database, lease=0.5) as fog:
        await fog.ledger.mint("alice", 1_000)
        for number in range(ROUNDS):
            with python(SERVES, database, f"first-{number}") as first:
                begun(first)
                request = fogcore.TaskRequest(kind="double", budget="0.001", payer="alice")
                answers = await fog.submit_all([(request, n) for n in range(50)])
                tasks = [task for task in answers if isinstance(task, fogcore.TaskHandle)]
                assert len(tasks) == 50
                await tasks[0].wait()
                first.send_signal(signal.SIGKILL)
            with python(SERVES, database, f"second-{number}") as second:
                begun(second)
                assert [await task.result() for task in tasks] == [2 * n for n in range(50)]
        assert (await fog.ledger.trial_balance()).is_balanced


ASYNC_BODY = """
    import asyncio, sys, time
    import fogcore

    async def main(database):
        async with fogcore.Fog.open(database, grace=30, idle_poll=0.005) as fog:
            node = await fog.register(fogcore.Node("laptop"))

            @node.executor("hang")
            async def hang(task):
                print("serving", flush=True)
                try:
                    await asyncio.Event().wait()
                finally:
                    print("cancelled", flush=True)

            async with node.serve():
                await fog.submit("hang")
                await asyncio.Event().wait()

    asyncio.run(main(sys.argv[1]))
"""

SYNC_BODY = """
    import sys, threading, time
    import fogcore, fogcore.sync

    stopped = threading.Event()
    with fogcore.sync.Fog.open(sys.argv[1], grace=30, idle_poll=0.005) as fog:
        node = fog.register(fogcore.Node("laptop"))

        @node.executor("hang")
        def hang(task):
            print("serving", flush=True)
            while not task.cancelled:
                time.sleep(0.01)
            print("cancelled", flush=True)
            stopped.set()

        try:
            with node.serve():
                fog.submit("hang").result()
        finally:
            stopped.wait()
"""


@pytest.mark.parametrize("code", [ASYNC_BODY, SYNC_BODY], ids=["asyncio", "sync"])
def test_an_interrupt_reaches_what_runs_and_gives_it_back(database: str, code: str) -> None:
    with python(code, database) as process:
        begun(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=LIMIT)
        assert "KeyboardInterrupt" in err
        assert "cancelled" in out
        assert process.returncode in (1, 130, -signal.SIGINT)
    with fogcore.sync.Fog.open(database) as fog:
        (info,) = fog.tasks()
        assert (info.state, info.attempts) == (fogcore.TaskState.QUEUED, 0)


ENDINGS = {
    "nothing was used": "import fogcore",
    "a fog is open": """
        import asyncio, fogcore
        async def main():
            global fog
            fog = await fogcore.Fog.open("memory:")
        asyncio.run(main())
    """,
    "a wait is under way": """
        import asyncio, fogcore
        async def main():
            fog = await fogcore.Fog.open("memory:")
            task = await fog.submit("nobody")
            asyncio.ensure_future(task.wait())
            await asyncio.sleep(0)
        asyncio.run(main())
    """,
    "an executor runs": """
        import asyncio, fogcore
        async def main():
            fog = await fogcore.Fog.open("memory:", idle_poll=0.001)
            node = await fog.register(fogcore.Node("a"))
            began = asyncio.Event()
            @node.executor("hang")
            async def hang(task):
                began.set()
                await asyncio.Event().wait()
            serving = node.serve()
            await serving.start()
            await fog.submit("hang")
            await began.wait()
        asyncio.run(main())
    """,
    "a thread hangs in an executor": """
        import asyncio, fogcore, threading, time
        async def main():
            fog = await fogcore.Fog.open("memory:", idle_poll=0.001)
            node = await fog.register(fogcore.Node("a"))
            began = threading.Event()
            @node.executor("hang")
            def hang(task):
                began.set()
                while True:
                    task.progress(0.5)
                    time.sleep(0.001)
            await node.serve().start()
            await fog.submit("hang")
            await asyncio.to_thread(began.wait)
        asyncio.run(main())
    """,
    "a fog without asyncio is open": """
        import fogcore, fogcore.sync
        fog = fogcore.sync.Fog.open("memory:", idle_poll=0.001)
        node = fog.register(fogcore.Node("a"))
        node.executor("x")(lambda task: None)
        node.serve().start()
        tasks = [fog.submit("x") for _ in range(20)]
    """,
    "a thread waits for a task": """
        import fogcore, fogcore.sync, threading
        fog = fogcore.sync.Fog.open("memory:")
        task = fog.submit("nobody")
        threading.Thread(target=task.wait, daemon=True).start()
    """,
}


@pytest.mark.parametrize("code", ENDINGS.values(), ids=ENDINGS.keys())
def test_an_interpreter_ends_whatever_is_under_way(code: str) -> None:
    status, _, err = ends(code)
    assert status == 0, err
    assert "panicked" not in err and "Fatal" not in err


FORKS = """
    import asyncio, os, sys, warnings
    import fogcore, fogcore.sync
    warnings.simplefilter("ignore")

    async def opened():
        fog = await fogcore.Fog.open("memory:")
        await fog.register(fogcore.Node("a"))
        return fog, await fog.balancer()

    async def following(events):
        return [event async for event in events]

    loop = asyncio.new_event_loop()
    fog, balancer = loop.run_until_complete(opened())
    events = fog.events()
    waiting = fogcore.sync.Fog.open("memory:")
    heard = waiting.events()
    breaker = fogcore.Breaker()
    picked = balancer.pick()

    def refused(call):
        try:
            call()
        except fogcore.UnavailableError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("it was answered")

    # Of a new transfer's id, what is not the time.
    def chance():
        return fogcore.Transfer.direct("alice", "bob", 1).id[14:]

    chance()
    reads, writes = os.pipe()
    child = os.fork()
    chances = {chance()}
    if child == 0:
        os.write(writes, chances.pop().encode())
        refused(lambda: asyncio.run(fog.task_counts()))
        refused(lambda: waiting.task_counts())
        refused(lambda: asyncio.run(following(events)))
        refused(lambda: list(heard))
        refused(balancer.pick)
        refused(lambda: breaker.call(int))
        refused(picked.success)
        # What was inherited is let go, and a fog of the child's own works.
        del fog, balancer, waiting, breaker, picked
        with fogcore.sync.Fog.open("memory:") as own:
            own.ledger.mint("alice", 1)
            assert own.ledger.account("alice").available == 1
        print("child", flush=True)
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert os.read(reads, 64).decode() not in chances
    loop.run_until_complete(fog.ledger.mint("alice", 1))
    waiting.close()
    loop.run_until_complete(fog.close())
    print("parent")
"""


def test_after_a_fork_it_says_so_and_the_child_can_open_its_own() -> None:
    status, out, err = ends(FORKS)
    assert status == 0, err
    assert out.split() == ["child", "parent"]


def resident() -> int:
    """The memory of this process, in KiB."""
    with open("/proc/self/status") as file:
        found = re.search(r"VmRSS:\s+(\d+) kB", file.read())
    assert found is not None
    return int(found[1])


PICKS = int(os.environ.get("FOGCORE_PYTHON_PICKS", "100000"))
TASKS = int(os.environ.get("FOGCORE_PYTHON_TASKS", "2000"))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
async def test_memory_stays_flat_over_picks_and_tasks(database: str, quick: dict[str, Any]) -> None:
    # A store that keeps little in memory, and has soon filled what it keeps.
    async with fogcore.Fog.open(f"{database}?keep_mib=1", **quick) as fog:
        node = await fog.register(fogcore.Node("a"))
        balancer = await fog.balancer()

        def picks(count: int) -> None:
            for _ in range(count):
                with balancer.pick():
                    pass

        picks(PICKS // 10)
        before = resident()
        picks(PICKS)
        grown = resident() - before
        print(f"{grown} KiB more after {PICKS} picks")
        assert grown < 4_096

        @node.executor("noop")
        async def noop(task: fogcore.Task) -> None: ...

        request = fogcore.TaskRequest(kind="noop")

        async def tasks(count: int) -> None:
            for _ in range(0, count, 100):
                for task in await fog.submit_all([(request, None)] * 100):
                    assert isinstance(task, fogcore.TaskHandle)
                    await task.wait()

        async with node.serve(concurrency=64):
            await tasks(TASKS)
            objects = len(gc.get_objects())
            before = resident()
            await tasks(TASKS)
        grown = resident() - before
        print(f"{grown} KiB more after {TASKS} tasks")
        assert grown < 16_384
        assert len(gc.get_objects()) - objects < 1_000
