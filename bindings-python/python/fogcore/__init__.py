"""fogcore: who is there, what runs where, and who is owed what.

The coordination core for a fog – phones, laptops, GPU boxes and game hosts that nobody owns as one
cluster – for Python. A program that is a node, and does work that it submits itself:

```python
import asyncio, fogcore

async def main():
    async with fogcore.Fog.open("sqlite:fog.db") as fog:
        node = await fog.register(fogcore.Node("laptop", cpu_cores=8, memory_mb=16384))

        @node.executor("add")
        async def add(task: fogcore.Task) -> int:
            await task.progress(0.5)
            return sum(task.payload)

        await fog.ledger.mint("alice", "100")
        async with node.serve(concurrency=4):
            task = await fog.submit("add", [1, 2, 3], budget="0.5", payer="alice")
            print(await task.result(), await task.explain())

asyncio.run(main())
```

- `Fog` is the handle on everything: nodes, tasks, `Fog.ledger`, `Fog.signaling`, `Fog.balancer`,
  `Fog.events`. `fogcore.sync` has the same without asyncio.
- `Breaker` is a circuit breaker for calls of your own; `fogcore.simulate` tries placement policies
  on traces.
- Errors are subclasses of `FogError`, one for each thing that a caller can do about it.
- Amounts are `Decimal` or text, never floats; times are aware `datetime`s; payloads are JSON values
  or bytes.
"""

from . import simulate, sync
from ._balancer import Balancer
from ._breaker import Breaker, BreakerStats
from ._errors import (
    ConflictError,
    DeniedError,
    ExhaustedError,
    FogError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    PermanentFailure,
    TaskError,
    TransientFailure,
    UnavailableError,
)
from ._events import Event, Events
from ._fog import Fog, TaskHandle, TaskRequest
from ._fogcore import Pick, Transfer, __version__
from ._ledger import MAX_BATCH, Ledger, TransferAnswers
from ._money import Asset, Money
from ._signaling import (
    Answer,
    Candidate,
    Custom,
    Delivery,
    EndOfCandidates,
    GiveWay,
    Joined,
    Offer,
    PeerConnection,
    PeerJoined,
    PeerLeft,
    Signal,
    Signaled,
    Signaling,
    Zone,
)
from ._values import (
    Account,
    Address,
    AssetTotal,
    BreakerState,
    Considered,
    Explanation,
    Gpu,
    HoldState,
    Liveness,
    LogLine,
    Mail,
    Needs,
    Node,
    NodeKind,
    NodeStatus,
    ParentFailure,
    Posted,
    Power,
    Rates,
    Retry,
    Session,
    SessionStatus,
    Sla,
    Stake,
    Strategy,
    TaskInfo,
    TaskState,
    TrialBalance,
    Vitals,
)
from ._work import NodeHandle, Output, Serving, Task

__all__ = [
    "MAX_BATCH",
    "Account",
    "Address",
    "Answer",
    "Asset",
    "AssetTotal",
    "Balancer",
    "Breaker",
    "BreakerState",
    "BreakerStats",
    "Candidate",
    "ConflictError",
    "Considered",
    "Custom",
    "Delivery",
    "DeniedError",
    "EndOfCandidates",
    "Event",
    "Events",
    "ExhaustedError",
    "Explanation",
    "Fog",
    "FogError",
    "GiveWay",
    "Gpu",
    "HoldState",
    "InternalError",
    "InvalidInputError",
    "Joined",
    "Ledger",
    "Liveness",
    "LogLine",
    "Mail",
    "Money",
    "Needs",
    "Node",
    "NodeHandle",
    "NodeKind",
    "NodeStatus",
    "NotFoundError",
    "Offer",
    "Output",
    "ParentFailure",
    "PeerConnection",
    "PeerJoined",
    "PeerLeft",
    "PermanentFailure",
    "Pick",
    "Posted",
    "Power",
    "Rates",
    "Retry",
    "Serving",
    "Session",
    "SessionStatus",
    "Signal",
    "Signaled",
    "Signaling",
    "Sla",
    "Stake",
    "Strategy",
    "Task",
    "TaskError",
    "TaskHandle",
    "TaskInfo",
    "TaskRequest",
    "TaskState",
    "Transfer",
    "TransferAnswers",
    "TransientFailure",
    "TrialBalance",
    "UnavailableError",
    "Vitals",
    "Zone",
    "__version__",
    "simulate",
    "sync",
]


# Where they are defined is nobody's business: they are told, and pickled, as what users know.
def _publish() -> None:
    for value in [globals()[name] for name in __all__]:
        if isinstance(value, type) and value.__module__.startswith("fogcore._"):
            value.__module__ = __name__


_publish()
del _publish
