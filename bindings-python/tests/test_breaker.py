"""The breaker: as a decorator and as a context manager, for functions of both kinds."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import fogcore
import pytest
from fogcore import Breaker, BreakerState


async def test_functions_of_both_kinds_are_guarded_and_stay_what_they_are() -> None:
    breaker = Breaker(consecutive_failures=2)

    @breaker
    def divide(by: int) -> float:
        """Divides."""
        return 1 / by

    @breaker
    async def later(by: int) -> float:
        await asyncio.sleep(0)
        return 1 / by

    class Service:
        @breaker
        def ask(self, by: int) -> tuple[Service, float]:
            return self, 1 / by

    assert divide(2) == await later(2) == 0.5
    service = Service()
    assert service.ask(by=2) == (service, 0.5)
    assert divide.__name__ == "divide" and divide.__doc__ == "Divides."
    assert list(inspect.signature(divide).parameters) == ["by"]
    assert inspect.iscoroutinefunction(later) and not inspect.iscoroutinefunction(divide)
    assert breaker.call(divmod, 7, 2) == (3, 1)

    with pytest.raises(ZeroDivisionError):
        divide(0)
    with pytest.raises(ZeroDivisionError):
        await later(0)
    assert breaker.state is BreakerState.OPEN
    for refused in (divide, service.ask):
        with pytest.raises(fogcore.UnavailableError) as caught:
            refused(2)
        assert caught.value.retry_after is not None and 0 < caught.value.retry_after <= 66
    with pytest.raises(fogcore.UnavailableError):
        await later(2)


async def test_blocks_of_both_kinds_are_guarded() -> None:
    breaker = Breaker(consecutive_failures=3)
    with breaker as same:
        assert same is breaker
        # Within itself, as a recursion would be.
        with breaker:
            pass
    async with breaker:
        pass
    assert breaker.stats() == fogcore.BreakerStats(
        state=BreakerState.CLOSED, calls=3, failures=0, slow=0, overdue=0
    )
    for _ in range(2):
        with pytest.raises(OSError), breaker:
            raise OSError
    with pytest.raises(OSError):
        async with breaker:
            raise OSError
    assert breaker.state is BreakerState.OPEN
    with pytest.raises(fogcore.UnavailableError), breaker:
        raise AssertionError("an open breaker lets nobody in")


async def test_tasks_and_threads_are_within_it_each_by_itself() -> None:
    breaker = Breaker()
    inside = asyncio.Event()

    async def waits() -> None:
        async with breaker:
            await inside.wait()

    tasks = [asyncio.create_task(waits()) for _ in range(10)]
    await asyncio.sleep(0)
    inside.set()
    await asyncio.gather(*tasks)

    def enters() -> None:
        with breaker:
            pass

    threads = [threading.Thread(target=enters) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert breaker.stats().calls == 20


async def test_what_is_called_off_counts_for_nothing_and_what_is_excluded_is_success() -> None:
    breaker = Breaker(consecutive_failures=1, exclude=(KeyError,))

    @breaker
    async def hangs() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(hangs())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(KeyboardInterrupt), breaker:
        raise KeyboardInterrupt
    assert breaker.stats().calls == 0

    @breaker
    def missing() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        missing()
    stats = breaker.stats()
    assert (stats.calls, stats.failures) == (1, 0)


def test_it_can_be_forced() -> None:
    breaker = Breaker()
    breaker.force_open()
    assert breaker.state is BreakerState.FORCED_OPEN
    with pytest.raises(fogcore.UnavailableError):
        breaker.call(int)
    breaker.force_closed()
    assert breaker.call(int) == 0
    breaker.release()
    assert repr(breaker) == "<Breaker closed>"


def test_settings_that_make_no_sense_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"failure_rate": 0.0}, "failure_rate"),
        ({"window": 0}, "window"),
        ({"min_calls": -1}, "min_calls"),
        ({"open_for": -1}, "open_for"),
        ({"failure_rate": float("nan")}, "failure_rate"),
        ({"settings": {"nope": 1}}, "nope"),
    ]
    for settings, field in wrong:
        with pytest.raises(fogcore.InvalidInputError) as caught:
            Breaker(**settings)
        assert caught.value.field == field
