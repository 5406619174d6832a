"""fogcore without asyncio: the same, waiting."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import fogcore
import fogcore.sync
import pytest
from fogcore import _events, _fog, _ledger, _signaling, _work

PAIRS = [
    (_fog.Fog, fogcore.sync.Fog),
    (_fog.TaskHandle, fogcore.sync.TaskHandle),
    (_work.NodeHandle, fogcore.sync.NodeHandle),
    (_work.Serving, fogcore.sync.Serving),
    (_ledger.Ledger, fogcore.sync.Ledger),
    (_signaling.Signaling, fogcore.sync.Signaling),
    (_signaling.PeerConnection, fogcore.sync.PeerConnection),
    (_events.Events, fogcore.sync.Events),
]


@pytest.mark.parametrize(("asynchronous", "waiting"), PAIRS)
def test_nothing_is_missing_and_everything_is_asked_alike(
    asynchronous: type[Any], waiting: type[Any]
) -> None:
    missing = []
    for name, member in vars(asynchronous).items():
        if name.startswith("_"):
            continue
        other = getattr(waiting, name, None)
        if other is None:
            missing.append(name)
        elif callable(member):
            asked, same = inspect.signature(member), inspect.signature(other)
            assert list(asked.parameters) == list(same.parameters), name
            assert (other.__doc__ or "").strip(), name
    assert not missing


def test_a_task_is_done(url: str, quick: dict[str, Any]) -> None:
    with fogcore.sync.Fog.open(url, **quick) as fog:
        node = fog.register(fogcore.Node("laptop", owner="bob", rates=fogcore.Rates(per_task=1)))

        @node.executor("add")
        def add(task: fogcore.Task) -> int:
            task.progress(0.5)
            return sum(task.payload)

        @node.executor("loop")
        async def loop(task: fogcore.Task) -> str:
            await asyncio.sleep(0)
            return threading.current_thread().name

        fog.ledger.mint("alice", "100")
        with node.serve(concurrency=2) as work:
            task = fog.submit("add", [1, 2, 3], budget=2, payer="alice")
            assert task.result() == 6
            assert fog.submit("loop").result() == "fogcore-loop"
            assert work.succeeded == 2
        assert task.info().paid == Decimal(1)
        explanation = task.explain()
        assert explanation is not None and explanation.chosen == "laptop"
        assert [one.id for one in fog.tasks(kind="add")] == [task.id]
        assert [one.node.id for one in fog.nodes()] == ["laptop"]
        assert fog.ledger.trial_balance().is_balanced
        child = fog.submit("add", [4], after=task)
        last = fog.submit("add", [5], after=[task.id, child])
        assert last.info().state is fogcore.TaskState.WAITING
        with pytest.raises(TypeError, match="after"):
            fog.submit("add", after=7)  # type: ignore[arg-type]
        (other,) = fog.submit_all([(fogcore.TaskRequest(kind="later"), None)])
        assert isinstance(other, fogcore.sync.TaskHandle)
        other.cancel()
        with fog.balancer().pick() as picked:
            assert picked.node == "laptop"
    fog.close()
    with pytest.raises(fogcore.UnavailableError, match="closed"):
        fog.task_counts()


def test_events_and_peers_are_plain_iterators(url: str) -> None:
    with fogcore.sync.Fog.open(url) as fog:
        events = iter(fog.events())
        host = fog.register(fogcore.Node("host", bandwidth_mbps=1000))
        assert next(events).kind == "node_registered"
        host.beat(fogcore.Vitals(latency=5))
        fog.signaling.put_zone(fogcore.Zone(id="forest"))
        session = fog.signaling.open_session("host", "forest")
        ann = fog.signaling.connect(session.id, "ann")
        with fog.signaling.connect(session.id, "bob") as bob:
            bob.send("ann", fogcore.Offer("v=0"))
        hears = iter(ann)
        kinds = [type(next(hears)) for _ in range(4)]
        joined = [fogcore.Joined, fogcore.PeerJoined]
        assert kinds == [*joined, fogcore.Signaled, fogcore.PeerLeft]
        fog.signaling.end_session(session.id)
        assert list(hears) == []


def test_threads_may_share_a_fog(url: str, quick: dict[str, Any]) -> None:
    with fogcore.sync.Fog.open(url, **quick) as fog:
        fog.ledger.mint("alice", 100)
        fog.ledger.open_account("bob")
        failed: list[BaseException] = []

        def pays() -> None:
            try:
                for _ in range(10):
                    fog.ledger.transfer("alice", "bob", 1)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=pays) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        bob = fog.ledger.account("bob")
        assert bob is not None and bob.available == 80


def close_while_threads_call(url: str, closing: int) -> list[BaseException]:
    """What ended the calls that were made again and again while threads closed the fog."""
    fog = fogcore.sync.Fog.open(url)
    never = fog.submit("nobody-does-it")
    asked = [fog.task_counts, never.wait, lambda: list(fog.tasks()), fog.task_counts] * 2
    told: list[BaseException] = []
    begin = threading.Barrier(len(asked) + 1)

    def ask(what: Callable[[], object]) -> None:
        begin.wait()
        try:
            while True:
                what()
        except BaseException as error:
            told.append(error)

    threads = [threading.Thread(target=ask, args=[what], daemon=True) for what in asked]
    ends = [threading.Thread(target=fog.close) for _ in range(closing)]
    for thread in threads:
        thread.start()
    begin.wait()
    for thread in ends:
        thread.start()
    for thread in [*ends, *threads]:
        thread.join()
    assert len(told) == len(asked)
    return told


@pytest.mark.parametrize("closing", [1, 3])
def test_whoever_calls_while_it_is_closed_is_told_so(url: str, closing: int) -> None:
    for _ in range(10):
        told = close_while_threads_call(url, closing)
        assert all(isinstance(error, fogcore.UnavailableError) for error in told), told


def test_within_its_loop_it_says_what_to_use(url: str, quick: dict[str, Any]) -> None:
    with fogcore.sync.Fog.open(url, **quick) as fog:
        node = fog.register(fogcore.Node("laptop"))

        @node.executor("wrong")
        async def wrong(task: fogcore.Task) -> None:
            fog.task_counts()

        with node.serve(), pytest.raises(fogcore.TaskError, match="asyncio"):
            fog.submit("wrong", max_attempts=1).result()


def test_a_fog_that_cannot_be_opened_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(fogcore.InvalidInputError):
        fogcore.sync.Fog.open("nonsense:")
    assert threading.active_count() == before
