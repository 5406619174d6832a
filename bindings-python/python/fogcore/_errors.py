"""Exceptions: one class for each kind of error that the core knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._values import TaskInfo


class FogError(Exception):
    """Something went wrong; the subclass says what a caller can do about it.

    Attributes:
        reason: What happened, for people.
        field: The input field that is at fault, if one is.
        retry_after: After how many seconds it is worth asking again, if that is known.

    ```python
    try:
        await fog.submit("add", [1, 2], budget="1e9", payer="alice")
    except fogcore.FogError as error:
        print(type(error).__name__, error.reason, error.field)
    ```
    """

    reason: str
    field: str | None
    retry_after: float | None

    def __init__(
        self, reason: str, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.field, self.retry_after)


class NotFoundError(FogError, LookupError):
    """The thing named does not exist.

    ```python
    try:
        await fog.ledger.transfer("alice", "nobody", 1)
    except fogcore.NotFoundError as error:
        print(error)
    ```
    """


class ConflictError(FogError):
    """The request contradicts what is already there. Repeating it cannot help.

    ```python
    await fog.submit("add", [1, 2], idempotency_key="order-7")
    try:
        await fog.submit("add", [3, 4], idempotency_key="order-7")
    except fogcore.ConflictError as error:
        print(error)
    ```
    """


class InvalidInputError(FogError, ValueError):
    """The input breaks a rule; `field` says which part of it.

    >>> import fogcore
    >>> try:
    ...     fogcore.Breaker(failure_rate=7.0)
    ... except fogcore.InvalidInputError as error:
    ...     error.field
    'failure_rate'
    """


class UnavailableError(FogError):
    """It cannot be answered now: busy, disconnected, closed. Repeating may help.

    >>> import fogcore
    >>> breaker = fogcore.Breaker()
    >>> breaker.force_open()
    >>> try:
    ...     breaker.call(print)
    ... except fogcore.UnavailableError as error:
    ...     error.retry_after
    """


class ExhaustedError(FogError):
    """A limit is reached: a full queue, a full disk, an account without the funds.

    ```python
    try:
        await fog.ledger.transfer("bob", "alice", "1000000")
    except fogcore.ExhaustedError as error:
        print(error)
    ```
    """


class DeniedError(FogError):
    """The caller may not do this.

    ```python
    try:
        await fog.signaling.resume(session.id, "ann", "a token of somebody else", heard=0)
    except fogcore.DeniedError as error:
        print(error)
    ```
    """


class InternalError(FogError):
    """A defect, or damage that the core cannot explain.

    ```python
    try:
        await fog.ledger.verify()
    except fogcore.InternalError as error:
        print("somebody wrote into the books:", error)
    ```
    """


BY_KIND: dict[str, type[FogError]] = {
    "not found": NotFoundError,
    "conflict": ConflictError,
    "invalid input": InvalidInputError,
    "unavailable": UnavailableError,
    "exhausted": ExhaustedError,
    "denied": DeniedError,
    "internal": InternalError,
}


def of_kind(kind: str, reason: str, field: str | None, retry_after: float | None) -> FogError:
    """The exception for an error of the core."""
    return BY_KIND.get(kind, InternalError)(reason, field, retry_after)


class TaskError(FogError):
    """A task ended without success.

    Attributes:
        task: The task as it ended, with its state and its failure.

    ```python
    bad = await fog.submit("add", ["one", 2], max_attempts=1)
    try:
        await bad.result()
    except fogcore.TaskError as error:
        print(error.task.state, error.task.failure)
    ```
    """

    task: TaskInfo

    def __init__(self, task: TaskInfo) -> None:
        super().__init__(f"task {task.id} {task.state.value}: {task.failure or 'no reason told'}")
        self.task = task

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.task,)


class TransientFailure(Exception):
    """Raised by an executor: another attempt, here or elsewhere, may succeed.

    Any other exception counts as one, too, and is told with its type and traceback.

    ```python
    @node.executor("fetch")
    def fetch(task: fogcore.Task) -> str:
        if task.attempt == 1:
            raise fogcore.TransientFailure("the server is busy")
        return "fetched"
    ```
    """


class PermanentFailure(Exception):
    """Raised by an executor: every attempt would fail, because the input is bad.

    ```python
    @node.executor("resize")
    def resize(task: fogcore.Task) -> str:
        if not task.data:
            raise fogcore.PermanentFailure("there is no picture")
        return "resized"
    ```
    """
