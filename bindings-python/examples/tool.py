"""A tool for a language model: what the model asks for becomes a task, and any node may do it.

Frameworks for agents call a tool with the arguments that the model wrote, and hand back what it
returns. So nothing that the model writes may raise: it gets a dict that says what went wrong, and
can try again.

    python tool.py
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, ClassVar

import fogcore


class FogTool:
    """Runs tasks of one kind, paid by one account, within a budget for each."""

    name = "run_on_fog"
    description = "Runs a job on another machine and returns its result."
    parameters: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "payload": {"description": "What the job is asked with."},
            "timeout_seconds": {"type": "number", "minimum": 0.1, "maximum": 600},
        },
        "required": ["payload"],
    }

    def __init__(self, fog: fogcore.Fog, kind: str, *, payer: str, budget: fogcore.Money) -> None:
        self._fog = fog
        self._request = fogcore.TaskRequest(
            kind=kind, payer=payer, budget=budget, max_attempts=2, retry=fogcore.Retry(initial=0.1)
        )

    async def execute(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Does what the model asked for; the dict has a `status`: ``ok``, ``failed``,
        ``timed_out`` or ``refused``."""
        try:
            timeout = _seconds(arguments.get("timeout_seconds", 60))
            task = await self._fog.submit(self._request, arguments.get("payload"))
            try:
                await asyncio.wait_for(task.wait(), timeout)
            except asyncio.TimeoutError:
                # If it has ended meanwhile, the answer counts.
                with contextlib.suppress(fogcore.ConflictError):
                    await task.cancel()
            return await self._told(task)
        except fogcore.FogError as error:
            return {"status": "refused", "field": error.field, "reason": error.reason}

    async def _told(self, task: fogcore.TaskHandle) -> dict[str, Any]:
        info = await task.info()
        if info.state is fogcore.TaskState.SUCCEEDED:
            cost = {"node": info.done_by, "paid": str(info.paid)}
            return {"status": "ok", "task": task.id, "result": await task.result(), **cost}
        if info.state is fogcore.TaskState.CANCELLED:
            return {"status": "timed_out", "task": task.id, "state": info.state.value}
        reason = (info.failure or "").partition("\n")[0]
        return {"status": "failed", "task": task.id, "reason": reason}


def _seconds(told: Any) -> float:
    """How long the model wants to wait: it may have written anything."""
    field = "timeout_seconds"
    try:
        seconds = float(told)
    except (TypeError, ValueError) as error:
        raise fogcore.InvalidInputError(f"{field}: {error}", field) from None
    if not 0.1 <= seconds <= 600:
        raise fogcore.InvalidInputError(f"{field}: must be between 0.1 and 600", field)
    return seconds


async def main() -> None:
    """A node and a model that makes mistakes, in one process."""
    async with fogcore.Fog.open("memory:") as fog:
        rates = fogcore.Rates(per_task="0.25")
        node = await fog.register(fogcore.Node("gpu-box", owner="bob", rates=rates))

        @node.executor("sum")
        async def add(task: fogcore.Task) -> float:
            if task.payload == "wait":
                await asyncio.Event().wait()
            return float(sum(map(float, task.payload)))

        await fog.ledger.mint("agent", "2")
        tool = FogTool(fog, "sum", payer="agent", budget="0.5")
        async with node.serve(concurrency=2):
            asked: list[dict[str, Any]] = [
                {"payload": [1, 2, 3.5]},
                {"payload": ["one", "two"]},
                {"payload": {1, 2}},
                {"payload": "wait", "timeout_seconds": 0.2},
                {"payload": [1], "timeout_seconds": "soon"},
                {"payload": [1], "timeout_seconds": float("nan")},
            ]
            for arguments in asked:
                answer = await tool.execute(arguments)
                print(arguments, "->", json.dumps(answer, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
