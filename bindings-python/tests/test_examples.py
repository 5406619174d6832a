"""The examples do what they say, as processes of their own; so do all examples in docstrings."""

from __future__ import annotations

import ast
import asyncio
import doctest
import functools
import importlib
import inspect
import json
import pkgutil
import pydoc
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fogcore
import pytest

HOME = Path(__file__).parent.parent
EXAMPLES = HOME / "examples"
LIMIT = 60


def said(*command: str) -> str:
    """What a program says that must succeed."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_agent_serves_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    database = f"sqlite:{tmp_path / 'fog.db'}"
    program = str(EXAMPLES / "agent.py")
    command = [sys.executable, program, "serve", database, "laptop"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert agent.stdout is not None
            assert "laptop serves" in agent.stdout.readline()
            told = said(program, "ask", database, "so it is so")
            assert "{'so': 2, 'it': 1, 'is': 1}" in told
            assert re.search(r"laptop did it for 0\.01\d* FOG", told)
            assert "laptop was chosen" in told
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(LIMIT) == 0
        finally:
            agent.kill()


def test_the_tool_answers_whatever_the_model_writes() -> None:
    told = said(str(EXAMPLES / "tool.py"))
    answers = [json.loads(text) for text in re.findall(r"-> (\{.*?\n\})", told, re.S)]
    statuses = [answer["status"] for answer in answers]
    assert statuses == ["ok", "failed", "refused", "timed_out", "refused", "refused"]
    assert answers[0]["result"] == 6.5 and answers[0]["paid"] == "0.25"
    assert "ValueError" in answers[1]["reason"]
    assert answers[2]["field"] == "payload"
    assert answers[3]["state"] == "cancelled"


def test_the_walk_through_policies_ends_with_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "curves.svg"
    told = said(str(EXAMPLES / "policies.py"), str(picture))
    assert "SYNTHETIC" in told and "attempts were lost" in told
    assert picture.read_text().startswith("<svg")


MODULES = [f"fogcore.{module.name}" for module in pkgutil.iter_modules(fogcore.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("file", ["README.md", "python/fogcore/__init__.py"])
def test_the_first_example_of_the_documentation_runs(file: str, tmp_path: Path) -> None:
    code = re.search(r"```python\n(.*?)```", (HOME / file).read_text(), re.S)
    assert code is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 laptop was chosen")


def documented() -> Iterator[tuple[str, str]]:
    """Everything public, and what is told of it."""
    for name in fogcore.__all__:
        value = getattr(fogcore, name)
        if isinstance(value, type):
            yield name, value.__doc__ or ""
            for member, function in vars(value).items():
                if isinstance(function, (classmethod, staticmethod)):
                    function = function.__func__
                if not member.startswith("_") and callable(function):
                    yield f"{name}.{member}", function.__doc__ or ""


def test_everything_public_is_documented_with_an_example() -> None:
    without = [name for name, told in documented() if ">>>" not in told and "```python" not in told]
    assert not without


EXAMPLES_IN_A_FOG = [
    pytest.param(code, id=name)
    for name, told in documented()
    for code in re.findall(r"```python\n(.*?)```", inspect.cleandoc(told), re.S)
]


@pytest.mark.parametrize("code", EXAMPLES_IN_A_FOG)
async def test_examples_of_coroutines_run(
    code: str, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a fog in which something is going on, with a node that adds."""
    monkeypatch.chdir(tmp_path)
    async with fogcore.Fog.open("memory:", **quick) as fog:
        events = fog.events()
        rates = fogcore.Rates(per_task="0.2")
        has: dict[str, Any] = {"cpu_cores": 8, "memory_mb": 16384, "bandwidth_mbps": 1000}
        node = await fog.register(fogcore.Node("laptop", owner="bob", rates=rates, **has))
        await node.beat(fogcore.Vitals(latency=5))
        phone = await fog.register(fogcore.Node("phone"))
        phone.executor("call")(str)
        await fog.ledger.mint("alice", 10_000)
        await fog.ledger.open_account("carol")
        await fog.signaling.put_zone(fogcore.Zone(id="forest"))
        session = await fog.signaling.open_session("laptop", "forest")
        ann = await fog.signaling.connect(session.id, "ann")

        @node.executor("add")
        def add(task: fogcore.Task) -> Any:
            task.log("adding")
            return sum(task.payload)

        adding = await node.serve().__aenter__()
        task = await fog.submit("add", [1, 2])
        scope = {
            **{"asyncio": asyncio, "uuid": uuid, "Decimal": Decimal, "timedelta": timedelta},
            **{"fogcore": fogcore, "fog": fog, "node": node, "phone": phone, "events": events},
            **{"session": session, "ann": ann, "sdp": "v=0", "task": task},
            "hold": await fog.ledger.hold("alice", "bob", 5),
            "balancer": await fog.balancer(),
            "ask": functools.partial(asyncio.sleep, 0),
        }
        compiled = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = asyncio.ensure_future(eval(compiled, scope) or asyncio.sleep(0))
        if re.search("async for .* in (fog.events|ann)", code):
            # What follows something to its end, is given one.
            await (await fog.submit("add", [1, 2])).wait()
            await fog.signaling.end_session(session.id)
            await fog.close()
            await running
            return
        await running
        await adding.stop()
        # Executors that it registered do what they are asked.
        async with node.serve():
            for kind in node._executors:
                await (await fog.submit(kind, [1, 2], after=task)).data()


def test_the_version_is_the_crates() -> None:
    workspace = (HOME.parent / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.*)"', workspace, re.M)
    assert version is not None
    assert fogcore.__version__ == version[1]


def test_help_tells_of_fogcore_and_not_of_every_string() -> None:
    told = pydoc.plain(pydoc.render_doc(fogcore))
    assert "LEAST_CONNECTIONS" in told and "is_final" in told
    assert "inherited from builtins.str" not in told
    assert set(dir(fogcore.Sla)) == {"ONCE", "TWICE", "THREE_TIMES"}
    assert "value" in dir(fogcore.Sla.ONCE)
