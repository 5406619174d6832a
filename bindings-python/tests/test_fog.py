"""Nodes, balancers, events, signaling: the rest of what a fog is asked."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from datetime import timedelta, timezone
from typing import Any

import fogcore
import pytest


async def test_nodes_come_back_as_they_were_registered(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        node = fogcore.Node(
            "laptop",
            kind=fogcore.NodeKind.LAPTOP,
            name="Ann's",
            owner="ann",
            region="eu",
            addresses=(fogcore.Address("10.0.0.1", 80),),
            labels={"os": "linux"},
            cpu_cores=8,
            cpu_mhz=3000,
            memory_mb=16384,
            storage_mb=10,
            bandwidth_mbps=100,
            gpus=(fogcore.Gpu("A100", 40960),),
            serves=("add",),
            slots=2,
            max_connections=7,
            max_zones=3,
            rates=fogcore.Rates(per_task="0.5", per_cpu_hour="1"),
            power_budget={"games": 5},
        )
        handle = await fog.register(node)
        status = await handle.status()
        assert status.node.rates.per_task == pytest.approx(0.5)
        assert status.node == fogcore.Node(**{**vars(node), "rates": status.node.rates})
        assert status.liveness is fogcore.Liveness.ONLINE
        assert status.registered_at.tzinfo is timezone.utc
        power = fogcore.Power(battery=10, charging=False)
        status = await handle.beat(fogcore.Vitals(cpu=50, power=power))
        assert status.ineligible is not None
        assert status.vitals is not None and status.vitals.power == power
        await fog.register(fogcore.Node("phone"))
        assert [one.node.id async for one in fog.nodes()] == ["laptop", "phone"]
        assert [one.node.id async for one in fog.nodes(region="eu")] == ["laptop"]
        assert await fog.node("nobody") is None
        assert await handle.remove() and not await fog.remove_node("laptop")
        with pytest.raises(fogcore.NotFoundError):
            await handle.status()
        for bad in (fogcore.Vitals(cpu=101), fogcore.Vitals(latency=-1)):
            with pytest.raises(fogcore.InvalidInputError):
                await handle.beat(bad)
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.register(fogcore.Node("bad", rates=fogcore.Rates(per_gib="1e-30")))
        assert caught.value.field == "rates.per_gib"


async def test_picks_learn_from_how_requests_went(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        for name in ("a", "b"):
            await fog.register(fogcore.Node(name, labels={"gpu": name}))
        for strategy in fogcore.Strategy:
            balancer = await fog.balancer(strategy, subset_keys=["gpu"], classes=["chat"])
            assert len(balancer) == 2
            with balancer.pick(key="user-1") as picked:
                assert picked.node in ("a", "b")
        balancer = await fog.balancer(subset_keys=["gpu"], classes=["chat"])
        assert balancer.pick(label=("gpu", "b")).node == "b"
        assert balancer.pick(exclude=["a"], request_class="chat", kind="search").node == "b"
        assert balancer.pick(stay_with="b").node == "b"
        with pytest.raises(fogcore.NotFoundError):
            balancer.pick(request_class="nope")
        with pytest.raises(fogcore.InvalidInputError):
            balancer.pick(kind="nope")
        told = balancer.explain(label=("gpu", "b"))
        assert told["selected_node"] == "b"
        settings = {"panic_below": 0.0, "breaker": {"consecutive_failures": 2}}
        balancer = await fog.balancer("RoundRobin", subset_keys=["gpu"], settings=settings)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), balancer.pick(label=("gpu", "a")):
                raise ZeroDivisionError
        with pytest.raises(fogcore.UnavailableError) as caught:
            balancer.pick(label=("gpu", "a"))
        assert caught.value.retry_after is not None
        picked = balancer.pick(label=("gpu", "b"))
        wrong: list[dict[str, Any]] = [{"kind": "nope"}, {"latency": -1}, {"latency": float("nan")}]
        for bad in wrong:
            with pytest.raises(fogcore.InvalidInputError):
                picked.failure(**bad)
        picked.failure("overloaded", latency=0.5, retry_after=30)
        with pytest.raises(fogcore.UnavailableError):
            balancer.pick()
        with pytest.raises(fogcore.InvalidInputError):
            await fog.balancer("Nope")


async def test_a_cancelled_request_says_nothing_about_its_node(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.register(fogcore.Node("a"))
        settings = {"panic_below": 0.0, "breaker": {"consecutive_failures": 1}}
        balancer = await fog.balancer("Random", settings=settings)
        with pytest.raises(asyncio.CancelledError), balancer.pick():
            raise asyncio.CancelledError
        with balancer.pick():
            pass
        with pytest.raises(TimeoutError), balancer.pick():
            raise TimeoutError
        with pytest.raises(fogcore.UnavailableError):
            balancer.pick()


async def test_events_are_heard_in_order_until_the_fog_is_closed(url: str) -> None:
    fog = await fogcore.Fog.open(url)
    events, nodes = fog.events(), fog.events("node_removed")
    await fog.register(fogcore.Node("a"))
    task = await fog.submit("nobody-does-it")
    await task.cancel()
    await fog.remove_node("a")
    heard: list[fogcore.Event] = []
    while not heard or heard[-1].kind != "node_removed":
        heard.append(await anext(events))
    assert [event.number for event in heard] == list(range(1, len(heard) + 1))
    kinds = [event.kind for event in heard]
    assert kinds[0] == "node_registered" and heard[0].node == "a"
    assert "task_queued" in kinds and "task_ended" in kinds
    ended = heard[kinds.index("task_ended")]
    assert ended.task == task.id and "reason" in ended.data
    assert (await anext(nodes)).node == "a"
    closing = asyncio.create_task(fog.close())
    assert [event async for event in events] == []
    await closing


async def test_a_slow_reader_is_told_what_it_missed() -> None:
    async with fogcore.Fog.open("memory:", settings={"event_capacity": 4}) as fog:
        events = fog.events()
        for number in range(20):
            await fog.register(fogcore.Node(f"node-{number}"))
        first = await anext(events)
        assert (first.kind, first.data["events"]) == ("missed", 16)


async def test_peers_meet(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        host = fogcore.Node("host", bandwidth_mbps=1000, max_connections=8)
        await (await fog.register(host)).beat(fogcore.Vitals(latency=5))
        signaling = fog.signaling
        zone = await signaling.put_zone(fogcore.Zone(id="forest", max_players=4))
        assert (zone.max_players, zone.recommended_players) == (4, 4)
        assert await signaling.zones() == [zone]
        session = await signaling.open_session("host", "forest", players=["ann"])
        assert session.players == {"ann"} and session.status is fogcore.SessionStatus.PENDING
        ann = await signaling.connect(session.id, "ann")
        bob = await signaling.connect(session.id, "bob")
        assert await ann.receive() == fogcore.Joined(1, ())
        assert await ann.receive() == fogcore.PeerJoined(2, "bob")
        assert await bob.receive() == fogcore.Joined(1, ("ann",))
        for signal in (
            fogcore.Offer("v=0"),
            fogcore.Candidate("candidate:1"),
            fogcore.EndOfCandidates(),
            fogcore.Custom("hello"),
        ):
            # While bob waits for it.
            hears = asyncio.create_task(bob.receive())
            assert await ann.send("bob", signal) == "delivered"
            heard = await hears
            assert isinstance(heard, fogcore.Signaled)
            assert (heard.sender, heard.signal) == ("ann", signal)
        token, last = bob.token, bob.heard
        await bob.drop()
        assert await bob.receive() is None
        await ann.send("bob", fogcore.Answer("v=1"))
        with pytest.raises(fogcore.DeniedError):
            await signaling.resume(session.id, "bob", "guessed", last)
        again = await signaling.resume(session.id, "bob", token, last)
        heard = await again.receive()
        assert isinstance(heard, fogcore.Signaled) and heard.signal == fogcore.Answer("v=1")
        async with again:
            pass
        assert isinstance(await ann.receive(), fogcore.PeerLeft)
        with pytest.raises(fogcore.InvalidInputError):
            await ann.send("bob", fogcore.Offer(""))
        await signaling.put_mail(session.id, "ann", fogcore.Offer("v=2"))
        assert [mail.offer for mail in await signaling.mail(session.id)] == ["v=2"]
        assert (await signaling.activate(session.id)).status is fogcore.SessionStatus.ACTIVE
        ended = await signaling.end_session(session.id, "over")
        assert (ended.status, ended.end_reason) == (fogcore.SessionStatus.ENDED, "over")
        assert [delivery async for delivery in ann] == []
        with pytest.raises(fogcore.ConflictError):
            await signaling.connect(session.id, "carol")
        with pytest.raises(fogcore.NotFoundError):
            await signaling.session("nope")
        assert await signaling.remove_zone("forest")


async def test_settings_are_as_they_were_told() -> None:
    opening = fogcore.Fog.open("memory:", lease=timedelta(seconds=7), settings={"max_rivals": 3})
    async with opening as fog:
        assert fog.settings["lease"] == {"secs": 7, "nanos": 0}
        assert fog.settings["max_rivals"] == 3
        assert fog.now.tzinfo is timezone.utc


def test_one_fog_serves_several_event_loops(url: str) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:

        async def open() -> fogcore.Fog:
            return await fogcore.Fog.open(url)

        fog = first.run_until_complete(open())
        second.run_until_complete(fog.ledger.mint("alice", 1))
        account = first.run_until_complete(fog.ledger.account("alice"))
        assert account is not None and account.available == 1
        second.run_until_complete(fog.close())
    finally:
        first.close()
        second.close()


def test_an_event_loop_is_let_go() -> None:
    loop = asyncio.new_event_loop()

    async def use() -> None:
        async with fogcore.Fog.open("memory:"):
            pass

    loop.run_until_complete(use())
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


async def test_the_core_logs_by_logging(url: str, quick: dict[str, Any]) -> None:
    told: list[logging.LogRecord] = []
    heard, began = asyncio.Event(), asyncio.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record)
            heard.set()

    logger, handler = logging.getLogger("fogcore"), Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        async with fogcore.Fog.open(url, **quick) as fog:
            node = await fog.register(fogcore.Node("a"))

            @node.executor("late")
            async def late(task: fogcore.Task) -> None:
                began.set()
                await asyncio.Event().wait()

            async with node.serve():
                task = await fog.submit("late")
                await began.wait()
                await task.cancel()
                # That its work is dropped is worth a word.
                await heard.wait()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert told[0].name.startswith("fogcore.") and told[0].levelno >= logging.INFO
    assert "called off" in told[0].getMessage() and task.id in told[0].getMessage()
