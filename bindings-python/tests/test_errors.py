"""Exceptions: one class for each kind, with what is known as attributes."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import fogcore
import pytest
from fogcore import _errors, _fogcore


def test_every_kind_of_the_core_has_a_class_of_its_own() -> None:
    kinds = _fogcore.error_kinds()
    assert sorted(kinds) == sorted(_errors.BY_KIND)
    classes = [type(_errors.of_kind(kind, "why", None, None)) for kind in kinds]
    assert len(set(classes)) == len(kinds)
    for one in classes:
        assert issubclass(one, fogcore.FogError)
        assert getattr(fogcore, one.__name__) is one


async def test_the_field_at_fault_is_an_attribute(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.submit("add", max_attempts=0)
        assert caught.value.field == "max_attempts"
        assert "1 and 1000" in caught.value.reason
        with pytest.raises(ValueError, match="kind"):
            await fog.submit("")
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.register(fogcore.Node("laptop", labels={"": "x"}))
        assert caught.value.field is not None
        with pytest.raises(LookupError):
            await fog.task("00000000-0000-0000-0000-000000000000").info()
        with pytest.raises(fogcore.InvalidInputError):
            await fog.task("no uuid").info()


async def test_settings_that_there_are_not_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"leese": 1}, "leese"),
        ({"liveness": {"suspect": 1}}, "liveness.suspect"),
        ({"max_rivals": "many"}, "max_rivals"),
        ({"max_rivals": float("nan")}, "max_rivals"),
        ({"liveness": {"suspect_after": float("inf")}}, "liveness.suspect_after"),
    ]
    for settings, field in wrong:
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fogcore.Fog.open("memory:", settings=settings)
        assert caught.value.field == field
    with pytest.raises(fogcore.InvalidInputError) as caught:
        await fogcore.Fog.open("memory:", lease=-1)
    assert caught.value.field == "lease"
    with pytest.raises(fogcore.InvalidInputError):
        await fogcore.Fog.open("nonsense:")
    with pytest.raises(fogcore.InvalidInputError) as caught:
        await fogcore.Fog.open("memory:", seed=-1)
    assert caught.value.field == "seed"


async def test_what_is_of_a_wrong_type_is_refused() -> None:
    wrong: Any
    async with fogcore.Fog.open("memory:") as fog:
        for wrong in (None, "laptop", 7):
            with pytest.raises(TypeError, match="Node"):
                await fog.register(wrong)
            with pytest.raises(TypeError, match="signal"):
                await fog.signaling.put_mail("session", "peer", wrong)
        for number in (-1, 2**70):
            with pytest.raises(fogcore.InvalidInputError) as caught:
                await fog.explain("add", top=number)
            assert caught.value.field == "top"
            with pytest.raises(fogcore.InvalidInputError) as caught:
                fogcore.Transfer.hold("a", "b", 1, timeout_seconds=number)
            assert caught.value.field == "timeout_seconds"
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.submit("add", retry=fogcore.Retry(factor=float("nan")))
        assert caught.value.field == "backoff.factor"


def test_errors_can_be_pickled() -> None:
    error = fogcore.UnavailableError("busy", None, 2.5)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.reason, again.retry_after) == (type(error), "busy", 2.5)
    assert str(again) == "busy"


async def test_a_closed_fog_says_so(url: str) -> None:
    fog = await fogcore.Fog.open(url)
    await fog.close()
    await fog.close()
    with pytest.raises(fogcore.UnavailableError, match="closed"):
        await fog.task_counts()
    with pytest.raises(fogcore.UnavailableError, match="closed"):
        await fog.ledger.mint("alice", Decimal(1))
