"""A circuit breaker for calls to whatever may fail. It needs no fog."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from . import _fogcore, _times
from ._bridge import dumps
from ._times import Seconds, span
from ._values import BreakerState

if TYPE_CHECKING:
    import sys

    if sys.version_info >= (3, 11):
        from typing import Self
    else:
        from typing_extensions import Self

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Permits = tuple["tuple[Breaker, _fogcore.BreakerPermit]", ...]

# Of all breakers, because a context keeps its variables for ever. By context, because several
# threads and tasks may be within one breaker at once.
_permits: ContextVar[_Permits] = ContextVar("fogcore_breaker_permits", default=())


@dataclass(frozen=True, kw_only=True)
class BreakerStats:
    """What a breaker has counted.

    Attributes:
        state: Whether it lets calls through.
        calls: Calls in the window.
        failures: Failed calls in the window.
        slow: Slow calls in the window.
        overdue: Calls in flight for longer than they should be.

    >>> Breaker().stats()
    BreakerStats(state=<BreakerState.CLOSED: 'closed'>, calls=0, failures=0, slow=0, overdue=0)
    """

    state: BreakerState
    calls: int
    failures: int
    slow: int
    overdue: int


class Breaker:
    """A circuit breaker: it stops calling what keeps failing, and tries carefully again.

    As a decorator, for functions of both kinds:

    >>> breaker = Breaker(consecutive_failures=2)
    >>> @breaker
    ... def flaky(x: int) -> float:
    ...     return 1 / x
    >>> flaky(2)
    0.5

    As a context manager, `with` or `async with`:

    >>> with breaker:
    ...     pass
    >>> breaker.stats().calls
    2

    While it is open, it raises an `UnavailableError` whose `retry_after` tells when to come again.
    What is no `Exception` (a cancellation, an interrupt) says nothing about the service.
    """

    def __init__(
        self,
        *,
        window: int | None = None,
        min_calls: int | None = None,
        failure_rate: float | None = None,
        consecutive_failures: int | None = None,
        slow_after: Seconds | None = None,
        open_for: Seconds | None = None,
        half_open_permits: int | None = None,
        successes_to_close: int | None = None,
        exclude: tuple[type[BaseException], ...] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """A closed breaker.

        Args:
            window: Over how many of the latest calls rates are taken, 1–65,535; 100 unless told.
            min_calls: Fewer calls say nothing about a rate; 10 unless told.
            failure_rate: The share of failed calls that opens it, above 0 and up to 1; 0.5 unless
                told.
            consecutive_failures: So many failures in a row open it; 5 unless told.
            slow_after: A call that takes longer is slow; none is, unless told.
            open_for: How long it stays open the first time; 60 s unless told.
            half_open_permits: So many calls may be in flight while it tries; 3 unless told.
            successes_to_close: So many successes in a row close it again; 3 unless told.
            exclude: Exceptions that are no failure of the service: it answered.
            settings: Any other setting of the core's breaker, by its name.

        Raises:
            InvalidInputError: A setting that makes no sense, or that there is not.
        """
        policy: dict[str, Any] = _times.settings(dict(settings or {}))
        numbers = {
            "min_calls": min_calls,
            "failure_rate": failure_rate,
            "consecutive_failures": consecutive_failures,
            "half_open_permits": half_open_permits,
            "successes_to_close": successes_to_close,
        }
        policy |= {name: value for name, value in numbers.items() if value is not None}
        times = {"slow_after": slow_after, "open_for": open_for}
        policy |= {name: span(time, name) for name, time in times.items() if time is not None}
        if window is not None:
            policy["window"] = {"count": window}
        self._native = _fogcore.Breaker(dumps(policy), tuple(exclude))
        #: Calls a function with its arguments, unless the breaker refuses.
        self.call = self._native.call

    def __call__(self, function: _Function) -> _Function:
        """Guards all calls of a function."""
        guard = _guarding if inspect.iscoroutinefunction(function) else _guarded
        found: _Function = guard(self._native, function)
        return found

    def __enter__(self) -> Self:
        permit = self._native.calling()
        _permits.set((*_permits.get(), (self, permit)))
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        permits = _permits.get()
        place = max(place for place, (breaker, _) in enumerate(permits) if breaker is self)
        _permits.set(permits[:place] + permits[place + 1 :])
        permits[place][1].ended(exc)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    @property
    def state(self) -> BreakerState:
        """Whether it lets calls through."""
        return BreakerState(self._native.state)

    def stats(self) -> BreakerStats:
        """What it has counted.

        >>> breaker = Breaker()
        >>> breaker.call(len, "abc"), breaker.stats().calls
        (3, 1)
        """
        told = json.loads(self._native.stats())
        names = ("calls", "failures", "slow", "overdue")
        return BreakerStats(
            state=BreakerState(told["state"]), **{name: told[name] for name in names}
        )

    def force_open(self) -> None:
        """Opens it until it is released.

        >>> breaker = Breaker()
        >>> breaker.force_open()
        >>> breaker.call(len, "abc")
        Traceback (most recent call last):
        ...
        fogcore._errors.UnavailableError: the circuit breaker was opened by hand
        """
        self._native.force_open()

    def force_closed(self) -> None:
        """Closes it until it is released.

        >>> breaker = Breaker(consecutive_failures=1)
        >>> breaker.force_closed()
        >>> breaker
        <Breaker forced_closed>
        """
        self._native.force_closed()

    def release(self) -> None:
        """Ends what was forced.

        >>> breaker = Breaker()
        >>> breaker.force_open()
        >>> breaker.release()
        >>> breaker
        <Breaker closed>
        """
        self._native.release()

    def __repr__(self) -> str:
        return f"<Breaker {self.state.value}>"


def _guarded(breaker: _fogcore.Breaker, function: Callable[..., Any]) -> Any:
    call = breaker.call

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return call(function, *args, **kwargs)

    return guarded


def _guarding(breaker: _fogcore.Breaker, function: Callable[..., Any]) -> Any:
    @functools.wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        permit = breaker.calling()
        try:
            value = await function(*args, **kwargs)
        except BaseException as error:
            permit.ended(error)
            raise
        permit.success()
        return value

    return guarded
