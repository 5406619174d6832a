"""Tasks and executors: what they are given, what they may do, and what becomes of it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import fogcore
import pytest

ONCE: dict[str, Any] = {"max_attempts": 1}


async def serving(
    fog: fogcore.Fog, executors: dict[str, Any], concurrency: int = 4
) -> fogcore.Serving:
    node = await fog.register(fogcore.Node("laptop", cpu_cores=8, memory_mb=1024))
    for kind, executor in executors.items():
        node.executor(kind)(executor)
    return node.serve(concurrency)


async def test_a_task_is_done_paid_and_explained(url: str, quick: dict[str, Any]) -> None:
    async with fogcore.Fog.open(url, **quick) as fog:
        rates = fogcore.Rates(per_task="0.2")
        node = await fog.register(fogcore.Node("laptop", owner="bob", rates=rates))

        @node.executor("add")
        async def add(task: fogcore.Task) -> int:
            await task.progress(0.5, "half")
            task.log("adding")
            return sum(task.payload)

        await fog.ledger.mint("alice", "100")
        paid = fog.events("task_succeeded")
        async with node.serve(concurrency=4) as work:
            task = await fog.submit("add", [1, 2, 3], budget="0.5", payer="alice")
            assert await task.result() == 6
            assert work.succeeded == 1
        assert (await anext(paid)).data["paid"] == Decimal("0.2")
        info = await task.info()
        assert (info.state, info.done_by, info.attempts) == (
            fogcore.TaskState.SUCCEEDED,
            "laptop",
            1,
        )
        assert info.paid == Decimal("0.2") and info.busy is not None
        assert info.ended_at is not None and info.ended_at >= info.submitted_at
        explanation = await task.explain()
        assert explanation is not None and explanation.chosen == "laptop"
        assert "laptop was chosen" in str(explanation)
        assert "<table>" in explanation._repr_html_()
        assert [line.text for line in await task.log()] == ["adding"]
        assert await fog.task_counts() == {fogcore.TaskState.SUCCEEDED: 1}
        assert [one.id async for one in fog.tasks(payer="alice")] == [task.id]
        bob = await fog.ledger.account("bob")
        assert bob is not None and bob.available == Decimal("0.2")


async def test_payloads_are_json_or_bytes(url: str, quick: dict[str, Any]) -> None:
    async def echo(task: fogcore.Task) -> Any:
        return task.payload

    def raw(task: fogcore.Task) -> bytes:
        return task.data[::-1]

    async with fogcore.Fog.open(url, **quick) as fog, await serving(fog, {"e": echo, "r": raw}):
        values: list[Any] = [None, 0, "ü\u2028", [], {"a": [1, 2.5, None, True]}, 2**70]
        for value in values:
            assert await (await fog.submit("e", value)).result() == value
        task = await fog.submit("r", b"\x00\xff\x01")
        assert await task.data() == b"\x01\xff\x00"
        with pytest.raises(fogcore.InvalidInputError, match="data"):
            await task.result()
        for bad in (object(), {1, 2}, float("nan"), {"x": float("inf")}):
            with pytest.raises(fogcore.InvalidInputError) as caught:
                await fog.submit("e", bad)
            assert caught.value.field == "payload"
        with pytest.raises(fogcore.FogError) as other:
            await fog.submit("e", b"x" * (1 << 20) + b"x")
        assert "payload" in str(other.value)
        assert await (await fog.submit("r", b"y" * (1 << 20))).data() == b"y" * (1 << 20)


async def test_an_exception_fails_the_task_with_type_and_traceback(
    url: str, quick: dict[str, Any]
) -> None:
    async def broken(task: fogcore.Task) -> None:
        def inner() -> None:
            raise KeyError("missing")

        inner()

    def broken_in_thread(task: fogcore.Task) -> None:
        raise StopIteration

    async with fogcore.Fog.open(url, **quick) as fog:
        async with await serving(fog, {"a": broken, "b": broken_in_thread}) as work:
            with pytest.raises(fogcore.TaskError) as caught:
                await (await fog.submit("a", **ONCE)).result()
            failure = caught.value.task.failure or ""
            assert failure.startswith("KeyError: 'missing'")
            assert "in inner" in failure and "test_tasks.py" in failure
            assert caught.value.task.state is fogcore.TaskState.DEAD
            with pytest.raises(fogcore.TaskError, match="StopIteration"):
                await (await fog.submit("b", **ONCE)).result()
            assert work.failed == 2


async def test_a_permanent_failure_is_not_tried_again_and_a_transient_one_is(
    url: str, quick: dict[str, Any]
) -> None:
    attempts: list[int] = []

    async def sometimes(task: fogcore.Task) -> str:
        attempts.append(task.attempt)
        if task.attempt == 1:
            assert task.checkpoint is None
            task.save(b"half")
            raise fogcore.TransientFailure("the first time")
        return (task.checkpoint or b"").decode()

    async def never(task: fogcore.Task) -> None:
        raise fogcore.PermanentFailure("bad input")

    async with fogcore.Fog.open(url, **quick) as fog:
        async with await serving(fog, {"s": sometimes, "n": never}):
            retry = fogcore.Retry(initial=0.001, jitter=0)
            task = await fog.submit("s", retry=retry)
            await task.result()
            assert attempts == [1, 2]
            with pytest.raises(fogcore.TaskError, match="bad input") as caught:
                await (await fog.submit("n")).result()
            assert caught.value.task.attempts == 1
            assert caught.value.task.state is fogcore.TaskState.FAILED


async def test_too_much_and_what_is_no_result_fail_for_good(
    url: str, quick: dict[str, Any]
) -> None:
    async def too_much(task: fogcore.Task) -> bytes:
        return b"x" * ((1 << 20) + 1)

    async def no_json(task: fogcore.Task) -> object:
        return object()

    async with fogcore.Fog.open(url, **quick) as fog:
        async with await serving(fog, {"a": too_much, "b": no_json}):
            for kind, why in (("a", "1048576 are allowed"), ("b", "JSON")):
                with pytest.raises(fogcore.TaskError, match=why) as caught:
                    await (await fog.submit(kind)).result()
                assert caught.value.task.attempts == 1


async def test_one_that_hangs_is_given_up_in_time(url: str, quick: dict[str, Any]) -> None:
    async with fogcore.Fog.open(url, **quick) as fog:
        node = await fog.register(fogcore.Node("laptop"))
        cancelled = asyncio.Event()
        free = threading.Event()

        @node.executor("async", timeout=timedelta(milliseconds=20))
        async def hangs(task: fogcore.Task) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        @node.executor("sync", timeout=0.02)
        def hangs_in_thread(task: fogcore.Task) -> None:
            free.wait()

        async with node.serve():
            for kind in ("async", "sync"):
                with pytest.raises(fogcore.TaskError, match=r"longer than 0\.02 s"):
                    await (await fog.submit(kind, **ONCE)).result()
        free.set()
        assert cancelled.is_set()


async def test_a_task_that_is_called_off_cancels_its_executor(
    url: str, quick: dict[str, Any]
) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def hangs(task: fogcore.Task) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            assert task.cancelled
            cancelled.set()

    async with fogcore.Fog.open(url, lease=0.3, **quick) as fog:
        async with await serving(fog, {"hang": hangs}) as work:
            task = await fog.submit("hang")
            await began.wait()
            assert work.running == 1
            await task.cancel()
            await cancelled.wait()
            assert (await task.wait()).state is fogcore.TaskState.CANCELLED
            with pytest.raises(fogcore.ConflictError):
                await fog.task(task.id).resume()
        assert work.given_up == 1


async def test_a_cancelled_server_gives_back_what_runs(url: str, quick: dict[str, Any]) -> None:
    began = asyncio.Event()

    async def hangs(task: fogcore.Task) -> None:
        began.set()
        await asyncio.Event().wait()

    quick |= {"grace": 30}
    async with fogcore.Fog.open(url, **quick) as fog:
        node = await fog.register(fogcore.Node("laptop"))
        node.executor("hang")(hangs)
        server = asyncio.create_task(node.serve_forever())
        task = await fog.submit("hang")
        await began.wait()
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
        info = await task.info()
        assert (info.state, info.attempts) == (fogcore.TaskState.QUEUED, 0)


async def test_a_wait_that_is_cancelled_leaves_the_task_alone(
    url: str, quick: dict[str, Any]
) -> None:
    async with fogcore.Fog.open(url, **quick) as fog:
        task = await fog.submit("later")
        waiting = asyncio.create_task(task.result())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(task.wait(), 0.01)
        assert (await task.info()).state is fogcore.TaskState.QUEUED


async def test_200_tasks_at_once(url: str, quick: dict[str, Any]) -> None:
    most = running = 0

    async def double(task: fogcore.Task) -> int:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return 2 * int(task.payload)

    async with fogcore.Fog.open(url, **quick) as fog:
        async with await serving(fog, {"double": double}, concurrency=50):

            async def one(number: int) -> int:
                result: int = await (await fog.submit("double", number)).result()
                return result

            results = await asyncio.gather(*map(one, range(200)))
        assert results == [2 * number for number in range(200)]
        assert 1 < most <= 50


async def test_functions_run_in_threads_with_their_context(url: str, quick: dict[str, Any]) -> None:
    who = contextvars.ContextVar("who", default="nobody")

    def where(task: fogcore.Task) -> list[str]:
        task.progress(0.5)
        return [threading.current_thread().name, who.get()]

    who.set("me")
    async with fogcore.Fog.open(url, **quick) as fog, await serving(fog, {"where": where}):
        thread, name = await (await fog.submit("where")).result()
        assert thread == "fogcore-where"
        assert name in ("me", "nobody")


async def test_tasks_after_tasks(url: str, quick: dict[str, Any]) -> None:
    async def one(task: fogcore.Task) -> int:
        return 20

    async def more(task: fogcore.Task) -> int:
        results = [int(await task.result_of(parent)) for parent in task.parents]
        with pytest.raises(fogcore.InvalidInputError):
            await task.result_of(task.id)
        return sum(results) + 2

    def in_thread(task: fogcore.Task) -> int:
        return int(task.wait_for_result_of(task.parents[0])) + 1

    executors = {"one": one, "more": more, "thread": in_thread}
    async with fogcore.Fog.open(url, **quick) as fog, await serving(fog, executors):
        parents = [await fog.submit("one") for _ in range(2)]
        child = await fog.submit("more", after=parents)
        last = await fog.submit("thread", after=child)
        assert await last.result() == 43


async def test_every_keyword_of_a_request_arrives(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.mint("alice", "10")
        soon = datetime.now(timezone.utc) + timedelta(hours=1)
        needs = fogcore.Needs(
            cpu=0.5,
            memory_mb=10,
            storage_mb=10,
            bandwidth_mbps=1,
            gpus=0.25,
            gpu_models=["A100"],
            labels={"os": "linux"},
            region="eu",
            max_latency=50,
            min_quality=10,
            max_price="1",
            exclusive=True,
        )
        request = fogcore.TaskRequest(
            kind="big",
            budget=Decimal("1.5"),
            payer="alice",
            needs=needs,
            priority=-5,
            deadline=soon,
            not_before=soon - timedelta(minutes=5),
            idempotency_key="mine",
            max_attempts=7,
            retry=fogcore.Retry(initial=2, factor=3, at_most=timedelta(minutes=1), jitter=0.5),
            offline_for=timedelta(days=1),
            sla=fogcore.Sla.ONCE,
            retain_for=60,
        )
        task = await fog.submit(request, {"x": 1})
        assert await fog.submit(request, {"x": 1}) == task
        with pytest.raises(fogcore.ConflictError):
            await fog.submit(request, {"x": 2})
        with pytest.raises(TypeError):
            await fog.submit(request, priority=1)
        alice = await fog.ledger.account("alice")
        assert alice is not None and alice.available == Decimal("8.5")
        explanation = await fog.explain(request)
        assert explanation.chosen is None
        with pytest.raises(fogcore.InvalidInputError, match="zone"):
            await fog.submit("late", deadline=datetime(2026, 1, 1))
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"cpu": -1}, "needs.cpu"),
            ({"cpu": 0.0001}, "needs.cpu"),
            ({"gpus": 1.5}, "needs.gpus"),
            ({"cpu": float("nan")}, "needs.cpu"),
        ]
        for bad, field in wrong:
            with pytest.raises(fogcore.InvalidInputError) as caught:
                await fog.submit("bad", needs=fogcore.Needs(**bad))
            assert caught.value.field == field
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.submit("bad", budget="1")
        assert "payer" in str(caught.value)
        with pytest.raises(fogcore.ExhaustedError):
            await fog.submit("bad", budget="100", payer="alice")


async def test_a_batch_answers_each_task(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        good = fogcore.TaskRequest(kind="good")
        bad = fogcore.TaskRequest(kind="bad", max_attempts=0)
        first, second, third = await fog.submit_all([(good, 1), (bad, 2), (good, 3)])
        assert isinstance(first, fogcore.TaskHandle) and isinstance(third, fogcore.TaskHandle)
        assert isinstance(second, fogcore.InvalidInputError)
        assert second.field == "max_attempts"
        assert first != third and len({first, third, fog.task(first.id)}) == 2


@pytest.mark.parametrize(
    ("request_", "payload", "field"),
    [
        (fogcore.TaskRequest(kind="add"), {1, 2}, "submissions[1].payload"),
        (fogcore.TaskRequest(kind="add", retain_for=-1), 1, "submissions[1].retain_for"),
        (fogcore.TaskRequest(kind="a b"), 1, "submissions[1].kind"),
    ],
)
async def test_what_cannot_be_sent_in_a_batch_is_named_by_its_place(
    request_: fogcore.TaskRequest, payload: Any, field: str
) -> None:
    async with fogcore.Fog.open("memory:") as fog:
        good = fogcore.TaskRequest(kind="good")
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.submit_all([(good, 1), (request_, payload)])
        assert caught.value.field == field and field in caught.value.reason
        assert not await fog.task_counts()


async def test_a_node_without_executors_cannot_serve(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        node = await fog.register(fogcore.Node("laptop"))
        with pytest.raises(fogcore.InvalidInputError) as caught:
            async with node.serve():
                pass
        assert caught.value.field == "executors"


async def test_a_progress_bar_counts_what_is_done(
    url: str, quick: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    async def noop(task: fogcore.Task) -> None: ...

    async with fogcore.Fog.open(url, **quick) as fog:
        node = await fog.register(fogcore.Node("laptop"))
        node.executor("noop")(noop)
        async with node.serve(progress=True):
            await (await fog.submit("noop")).result()
    assert "1 tasks" in capfd.readouterr().err


async def test_what_ends_a_thread_or_a_program_fails_the_attempt_alone(
    url: str, quick: dict[str, Any]
) -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise ValueError

    async def leaves(task: fogcore.Task) -> None:
        raise SystemExit(3)

    def leaves_in_thread(task: fogcore.Task) -> None:
        raise SystemExit(3)

    def interrupts(task: fogcore.Task) -> None:
        raise KeyboardInterrupt

    def unspeakable(task: fogcore.Task) -> None:
        raise Broken

    executors = {"a": leaves, "b": leaves_in_thread, "c": interrupts, "d": unspeakable}
    whys = {"a": "SystemExit", "b": "SystemExit", "c": "KeyboardInterrupt", "d": "Broken"}
    async with fogcore.Fog.open(url, **quick) as fog, await serving(fog, executors):
        for kind, why in whys.items():
            with pytest.raises(fogcore.TaskError, match=why):
                await (await fog.submit(kind, **ONCE)).result()


def test_the_work_of_a_loop_that_was_closed_is_not_lost(database: str) -> None:
    began = asyncio.Event()

    async def first() -> tuple[fogcore.Fog, fogcore.Serving, str]:
        fog = await fogcore.Fog.open(database, idle_poll=0.005)
        node = await fog.register(fogcore.Node("first"))

        @node.executor("work")
        async def work(task: fogcore.Task) -> None:
            began.set()
            await asyncio.Event().wait()

        serving = node.serve(2)
        await serving.start()
        task = await fog.submit("work")
        await began.wait()
        return fog, serving, task.id

    # The loop ends without a word to whoever served in it.
    kept = asyncio.run(first())

    async def second() -> None:
        async with fogcore.Fog.open(database, idle_poll=0.005) as fog:
            node = await fog.register(fogcore.Node("second"))

            @node.executor("work")
            async def work(task: fogcore.Task) -> int:
                return task.attempt

            async with node.serve():
                assert await fog.task(kept[2]).result() == 1
                assert await (await fog.submit("work")).result() == 1
        await kept[0].close()

    asyncio.run(asyncio.wait_for(second(), 50))


async def test_the_same_work_is_not_begun_twice(url: str) -> None:
    async def noop(task: fogcore.Task) -> None: ...

    async with fogcore.Fog.open(url) as fog:
        serving_twice = await serving(fog, {"noop": noop})
        async with serving_twice:
            with pytest.raises(RuntimeError, match="already"):
                await serving_twice.start()
        # Over, it may begin again.
        async with serving_twice:
            await (await fog.submit("noop")).result()


@pytest.mark.parametrize("kind", [None, 7, b"add", "", "a b", "x" * 65])
async def test_what_is_no_kind_is_refused(kind: Any) -> None:
    async with fogcore.Fog.open("memory:") as fog:
        with pytest.raises((fogcore.InvalidInputError, TypeError)):
            await fog.submit(kind)


async def test_one_that_is_called_off_before_it_began_leaves_nothing() -> None:
    async def noop(task: fogcore.Task) -> None: ...

    async with fogcore.Fog.open("memory:") as fog:
        work = await serving(fog, {"noop": noop})

        class Job:
            number = 7

        work._take(Job())
        assert work.running == 1
        work._take(7)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert work.running == 0


async def test_a_timeout_of_its_own_is_told_as_such(url: str, quick: dict[str, Any]) -> None:
    async with fogcore.Fog.open(url, **quick) as fog:
        node = await fog.register(fogcore.Node("laptop"))

        @node.executor("asks", timeout=60)
        async def asks(task: fogcore.Task) -> None:
            raise TimeoutError("the printer is slow")

        async with node.serve():
            with pytest.raises(fogcore.TaskError, match="printer"):
                await (await fog.submit("asks", **ONCE)).result()
