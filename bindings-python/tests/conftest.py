"""What the tests share: fogs on every store, and a way to run coroutines."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Nothing here waits for so long; what does hangs.
TIMEOUT = 600


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs tests that are coroutine functions, each in a loop of its own."""
    function: Callable[..., Awaitable[None]] = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    given = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(functools.partial(function, **given)(), TIMEOUT))
    return True


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh store of each kind."""
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'fog.db'}"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A fresh store that several processes can share."""
    return f"sqlite:{tmp_path / 'fog.db'}"


@pytest.fixture
def quick() -> dict[str, Any]:
    """Settings that let a test see soon what would take a while."""
    return {"idle_poll": 0.005, "grace": 1}


@pytest.fixture(autouse=True)
def no_task_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may leave threads that are not daemons."""
    import threading

    yield
    left = [thread for thread in threading.enumerate() if not thread.daemon]
    assert left == [threading.main_thread()]
