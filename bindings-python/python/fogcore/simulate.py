"""Placement policies on traces: how much fits, how long tasks wait, what it costs.

>>> import fogcore.simulate
>>> trace = fogcore.simulate.Trace.sample(nodes=20, tasks=200, seed=1)
>>> report = fogcore.simulate.run(trace, ["fgd", "best_fit"], seeds=2)
>>> report.synthetic, sorted(report.rows)
(True, ['best_fit', 'fgd'])
>>> 50 < report.rows["fgd"].allocated_at_130 <= 100
True
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _fogcore, _html


def policies() -> list[str]:
    """The names of all policies.

    >>> "fgd" in policies()
    True
    """
    return _fogcore.policies()


class Trace:
    """Nodes, and the tasks that come to them."""

    __slots__ = ("_native",)

    def __init__(self, native: _fogcore.Trace) -> None:
        self._native = native

    @classmethod
    def sample(cls, *, nodes: int = 100, tasks: int = 1_000, seed: int = 1) -> Trace:
        """A small trace that is made up; everything that comes of it says so."""
        return cls(_fogcore.Trace.sample(nodes, tasks, seed))

    @classmethod
    def read(cls, nodes: str | os.PathLike[str], tasks: str | os.PathLike[str]) -> Trace:
        """A trace from two files: CSV with the columns of openb (cluster-trace-gpu-v2023), or a
        line of JSON for each.

        Raises:
            InvalidInputError: With the file (``nodes``, ``tasks``) and the line.
        """
        return cls(_fogcore.Trace.read(os.fspath(nodes), os.fspath(tasks)))

    @property
    def synthetic(self) -> bool:
        """Whether it was made up rather than recorded."""
        return self._native.synthetic

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return self._native.nodes

    @property
    def tasks(self) -> int:
        """How many tasks it has."""
        return self._native.tasks

    @property
    def gpus(self) -> float:
        """How many GPUs its nodes have."""
        return self._native.gpu_milli / 1_000

    def __repr__(self) -> str:
        made_up = ", made up" if self.synthetic else ""
        return f"<Trace of {self.nodes} nodes and {self.tasks} tasks{made_up}>"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of a trace in its own time.

    Attributes:
        done: Tasks that ran to their end.
        never_placed: Tasks that never found a place.
        lost: Attempts that were lost with their nodes.
        wait_seconds: How long tasks waited for their first place, on average.
        wait_p95_seconds: How long the one in twenty waited that waited longest.
        makespan_seconds: When the last task was done.
        allocated: The GPU share in use, 0–1, on average.
        energy_kwh: What was used; from made-up watts.
        cost: What tasks cost at the nodes' rates, in base units.
        fairness: Jain's index of the payers' mean slowdowns: 1 if all fared alike.
        synthetic_churn: Whether nodes that leave and come back were made up.
    """

    done: int
    never_placed: int
    lost: int
    wait_seconds: float
    wait_p95_seconds: float
    makespan_seconds: float
    allocated: float
    energy_kwh: float
    cost: float
    fairness: float
    synthetic_churn: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """The means of one policy over its seeds.

    Attributes:
        allocated_at_100: Allocated GPU share in per cent, when as much had arrived as there is.
        allocated_at_130: The same at 130 %.
        fragmentation: What the next task could not use in the end, in per cent of all GPUs.
        seconds_per_seed: How long one run took.
        replay: The replay in the trace's own time, if there was one.
    """

    allocated_at_100: float
    allocated_at_130: float
    fragmentation: float
    seconds_per_seed: float
    replay: Replay | None = None


@dataclass(frozen=True)
class Report:
    """Results by policy. `str()` is a table; in Jupyter, there is a picture as well.

    Attributes:
        synthetic: Whether the trace was made up.
        seeds: How many runs each policy had.
        rows: Each policy by its name.
        table: The results for people, best policy first.
        svg: The curves, as an SVG picture.
    """

    synthetic: bool
    seeds: int
    rows: Mapping[str, Row] = field(hash=False)
    table: str = field(repr=False)
    svg: str = field(repr=False)

    def __str__(self) -> str:
        return self.table

    def __getitem__(self, policy: str) -> Row:
        return self.rows[policy]

    def _repr_html_(self) -> str:
        best = sorted(self.rows.items(), key=lambda row: -row[1].allocated_at_130)
        rows = [
            [name, _two(row.allocated_at_100), _two(row.allocated_at_130), _two(row.fragmentation)]
            for name, row in best
        ]
        heads = ["policy", "at 100 % (%)", "at 130 % (%)", "fragments (%)"]
        title = "SYNTHETIC: this trace was made up" if self.synthetic else "placement policies"
        return _html.table(title, heads, rows) + self.svg


def run(
    trace: Trace,
    policies: Iterable[str] = ("fgd", "best_fit", "fog"),
    *,
    seeds: int = 1,
    learn: bool = False,
    replay: bool = False,
    churn_hours: float | None = None,
) -> Report:
    """Fills the trace's nodes with tasks drawn from it until they ask for 130 % of all GPUs.

    It takes as long as it takes, without the interpreter's lock: in asynchronous programs, call it
    by `asyncio.to_thread`.

    Args:
        trace: Nodes and tasks.
        policies: Names of policies; see `policies`.
        seeds: How many runs for each, with the seeds from 1 on.
        learn: Whether the workload is learned from what arrives, rather than known beforehand.
        replay: Whether the trace is replayed in its own time as well.
        churn_hours: In the replay, nodes stay so long on average, and are away a tenth of that.

    Raises:
        InvalidInputError: There is no policy of that name.
    """
    if seeds < 1:
        raise ValueError("seeds: at least one is needed")
    simulation = _fogcore.Simulation(trace._native, learn)
    for policy in policies:
        for seed in range(1, seeds + 1):
            simulation.run(policy, seed)
        simulation.end(policy, replay, churn_hours)
    told, table, svg = simulation.told()
    report: Any = json.loads(told)
    rows = {name: _row(row) for name, row in report["policies"].items()}
    return Report(report["synthetic"], report["seeds"], rows, table, svg)


def _row(json: Any) -> Row:
    replay = json.pop("replay", None)
    return Row(**json, replay=None if replay is None else Replay(**replay))


def _two(number: float) -> str:
    return f"{number:.2f}"
