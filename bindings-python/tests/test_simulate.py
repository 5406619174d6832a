"""Placement policies on traces: the core's, told in Python."""

from __future__ import annotations

import threading
from pathlib import Path

import fogcore
import pytest
from fogcore import _fogcore, simulate


def test_a_run_follows_from_trace_policy_and_seed() -> None:
    trace = simulate.Trace.sample(nodes=10, tasks=100, seed=7)
    assert (trace.nodes, trace.tasks, trace.synthetic) == (10, 100, True)
    first, again = (
        simulate.run(trace, ["fgd", "random"], seeds=2, replay=True, churn_hours=5)
        for _ in range(2)
    )
    for name in ("fgd", "random"):
        one, other = first[name], again[name]
        assert one.replay == other.replay and one.replay is not None
        assert one.replay.synthetic_churn
        assert one.allocated_at_130 == other.allocated_at_130
    assert first.seeds == 2 and first.synthetic
    assert "SYNTHETIC" in str(first)
    html = first._repr_html_()
    assert "<table>" in html and "<svg" in html and "fgd" in html


def test_other_threads_run_meanwhile() -> None:
    trace = simulate.Trace.sample(nodes=200, tasks=4_000, seed=1)
    simulation = _fogcore.Simulation(trace._native, False)
    turns, ended = 0, threading.Event()

    def turn() -> None:
        nonlocal turns
        while not ended.is_set():
            turns += 1

    thread = threading.Thread(target=turn)
    thread.start()
    before = turns
    simulation.run("fgd", 1)
    meanwhile = turns - before
    ended.set()
    thread.join()
    # Without the lock, it would be one or two.
    assert meanwhile > 100


def test_traces_are_read_from_files(tmp_path: Path) -> None:
    nodes, tasks = tmp_path / "nodes.csv", tmp_path / "tasks.csv"
    nodes.write_text("sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\n")
    tasks.write_text("name,cpu_milli,memory_mib,num_gpu\nt,12000,16384,1\n")
    trace = simulate.Trace.read(nodes, tasks)
    assert (trace.nodes, trace.tasks, trace.gpus, trace.synthetic) == (1, 1, 2.0, False)
    with pytest.raises(fogcore.InvalidInputError) as caught:
        simulate.Trace.read(tmp_path / "nowhere", tasks)
    assert caught.value.field == "nodes"
    tasks.write_text("{not json")
    with pytest.raises(fogcore.InvalidInputError, match="line 1") as caught:
        simulate.Trace.read(nodes, tasks)
    assert caught.value.field == "tasks"


def test_what_makes_no_sense_is_refused() -> None:
    trace = simulate.Trace.sample(nodes=2, tasks=5)
    with pytest.raises(fogcore.InvalidInputError, match="nope"):
        simulate.run(trace, ["nope"])
    with pytest.raises(ValueError, match="seeds"):
        simulate.run(trace, seeds=0)
    for hours in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(fogcore.InvalidInputError) as caught:
            simulate.run(trace, ["fgd"], replay=True, churn_hours=hours)
        assert caught.value.field == "churn_hours"
    assert "fgd" in simulate.policies()
