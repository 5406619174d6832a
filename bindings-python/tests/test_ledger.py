"""Money: exact, by the asset of its account, and never a float."""

from __future__ import annotations

import pickle
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import fogcore
import pytest
from fogcore import Transfer


async def test_amounts_come_back_exactly(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        exact = Decimal("123456789.123456789012345678")
        posted = await fog.ledger.mint("alice", exact)
        assert posted.amount == exact
        account = await fog.ledger.account("alice")
        assert account is not None and account.available == exact
        assert str(account.available) == "123456789.123456789012345678"
        assert account.opened_at.tzinfo is timezone.utc
        assert account.asset == fogcore.Asset("FOG", 18) == fog.asset
        assert await fog.ledger.account("nobody") is None


@pytest.mark.parametrize("amount", [0.1, 1.0, True, None, b"1"])
async def test_what_is_not_exact_is_refused(amount: Any) -> None:
    async with fogcore.Fog.open("memory:") as fog:
        with pytest.raises(TypeError, match="Decimal"):
            await fog.ledger.mint("alice", amount)


@pytest.mark.parametrize(
    "amount",
    ["", "x", "-1", "NaN", "inf", " 1", "1,5", "1e-19", Decimal("NaN"), Decimal(-1), -1, "9" * 60],
)
async def test_what_is_no_amount_is_refused(amount: Any) -> None:
    async with fogcore.Fog.open("memory:") as fog:
        with pytest.raises(fogcore.FogError):
            await fog.ledger.mint("alice", amount)
        assert await fog.ledger.account("alice") is None


async def test_texts_decimals_and_whole_numbers_are_the_same(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        for amount in ("1e2", Decimal("1E+2"), 100, "100.0"):
            assert (await fog.ledger.mint("alice", amount)).amount == 100


async def test_transfers_holds_and_the_trial_balance(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        ledger = fog.ledger
        await ledger.mint("alice", "10")
        await ledger.open_account("bob", history=True)
        posted = await ledger.transfer("alice", "bob", "2.5")
        assert (posted.amount, posted.debit, posted.credit) == (Decimal("2.5"), "alice", "bob")
        again = await ledger.transfer("alice", "bob", "2.5", id=posted.id)
        assert again.repeated and not posted.repeated
        with pytest.raises(fogcore.ConflictError):
            await ledger.transfer("alice", "bob", "3", id=posted.id)
        with pytest.raises(fogcore.ExhaustedError):
            await ledger.transfer("alice", "bob", "8")
        with pytest.raises(fogcore.NotFoundError):
            await ledger.transfer("alice", "carol", "1")

        hold = await ledger.hold("alice", "bob", "4")
        assert hold.hold_state is fogcore.HoldState.PENDING
        posted = await ledger.post(hold.id, "1.5")
        assert (posted.amount, posted.hold) == (Decimal("1.5"), hold.id)
        other = await ledger.hold("alice", "bob", "6")
        await ledger.void(other.id)
        found = await ledger.posted(other.id)
        assert found is not None and found.hold_state is fogcore.HoldState.VOIDED

        bob = await ledger.account("bob")
        assert bob is not None and bob.available == 4
        balance = await ledger.trial_balance()
        assert balance.is_balanced
        assert [total.asset.code for total in balance] == ["FOG"]
        assert "balanced" in balance._repr_html_()
        of_bob = [one async for one in ledger.transfers(account="bob", purpose="transfer")]
        assert [one.amount for one in of_bob if one.amount] == [
            Decimal("2.5"),
            Decimal(4),
            Decimal("1.5"),
            Decimal(6),
        ]
        until = datetime.now(timezone.utc) - timedelta(days=1)
        assert [one async for one in ledger.transfers(until=until)] == []
        assert [one.id async for one in ledger.accounts()]
        assert await ledger.verify() > 0


async def test_an_amount_is_read_by_the_asset_of_its_account(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        ledger = fog.ledger
        bank = await ledger.open_account("bank", asset="USD", may_owe=True)
        assert bank.may_owe and bank.asset == fogcore.Asset("USD", 2)
        await ledger.open_account("alice", asset=fogcore.Asset("USD", 2))
        posted = await ledger.transfer("bank", "alice", "2.5")
        assert (posted.amount, posted.asset.code) == (Decimal("2.5"), "USD")
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await ledger.transfer("bank", "alice", "0.001")
        assert caught.value.field == "amount"
        hold = await ledger.hold("bank", "alice", "1")
        assert (await ledger.post(hold.id, "0.25")).amount == Decimal("0.25")
        alice = await ledger.account("alice")
        assert alice is not None and alice.available == Decimal("2.75")
        own = await ledger.open_account("gpu-hours", asset="GPUH:3")
        assert own.asset == fogcore.Asset("GPUH", 3)
        with pytest.raises(fogcore.ConflictError):
            await ledger.open_account("alice", asset="TON")
        for asset in ("NOPE", "FOG:x", "FOG:99", ""):
            with pytest.raises(fogcore.InvalidInputError) as caught:
                await ledger.open_account("new", asset=asset)
            assert caught.value.field == "asset"


async def test_a_batch_answers_each_transfer(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.mint("alice", "10")
        await fog.ledger.open_account("bob")
        batch = [
            Transfer.direct("alice", "bob", "4"),
            Transfer.direct("alice", "bob", "7"),
            Transfer.direct("alice", "bob", "1", linked=True),
            Transfer.direct("alice", "nobody", "1"),
        ]
        answers = await fog.ledger.transfer_all(batch)
        assert len(answers) == 4
        first = answers[0]
        assert isinstance(first, fogcore.Posted)
        assert (first.id, first.amount) == (batch[0].id, Decimal(4))
        assert isinstance(answers[1], fogcore.ExhaustedError)
        assert sorted(answers.refused) == [1, 2, 3]
        assert isinstance(answers[-1], fogcore.NotFoundError)
        assert len(answers[1:]) == 3
        with pytest.raises(IndexError):
            answers[4]
        with pytest.raises(fogcore.ExhaustedError):
            answers.check()
        repeated = (await fog.ledger.transfer_all(batch[:1])).check()[0]
        assert isinstance(repeated, fogcore.Posted) and repeated.repeated
        assert len(await fog.ledger.transfer_all([])) == 0
        with pytest.raises(fogcore.FogError):
            await fog.ledger.transfer_all(
                [Transfer.direct("alice", "bob", 1) for _ in range(fogcore.MAX_BATCH + 1)]
            )


async def test_a_hold_is_posted_within_its_batch_by_its_own_asset(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.open_account("bank", asset="USD", may_owe=True)
        await fog.ledger.open_account("bob", asset="USD")
        hold = Transfer.hold("bank", "bob", "5")
        answers = await fog.ledger.transfer_all([hold, Transfer.post(hold.id, "4.5")])
        answers.check()
        bob = await fog.ledger.account("bob")
        assert bob is not None and bob.available == Decimal("4.5")


async def test_a_bad_amount_in_a_batch_is_named_by_its_place(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.mint("alice", "10")
        await fog.ledger.open_account("bob")
        batch = [Transfer.direct("alice", "bob", amount) for amount in ("1", "1e-19")]
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.ledger.transfer_all(batch)
        assert caught.value.field == "transfers[1].amount"
        assert caught.value.reason.startswith("transfers[1].amount: ")
        with pytest.raises(fogcore.InvalidInputError) as caught:
            await fog.ledger.transfer("alice", "bob", "1e-19")
        assert caught.value.field == "amount"
        bob = await fog.ledger.account("bob")
        assert bob is not None and bob.available == 0


def test_transfers_are_values() -> None:
    id = str(uuid.uuid4())
    one, same = (Transfer.direct("alice", "bob", "2.5", id=id) for _ in range(2))
    assert one == same and len({one, same}) == 1
    assert one.id == id and id in repr(one)
    assert Transfer.direct("alice", "bob", "2.5") != one
    for bad in ("", "a b", "x" * 129):
        with pytest.raises(fogcore.InvalidInputError):
            Transfer.direct(bad, "bob", "1")
    with pytest.raises(fogcore.InvalidInputError):
        Transfer.direct("alice", "bob", "1", id="not a uuid")
    with pytest.raises(TypeError):
        Transfer.hold("alice", "bob", 1.5)  # type: ignore[arg-type]


async def test_stakes(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.mint("alice", "50000")
        stake = await fog.ledger.stake("alice", "20000")
        assert (stake.holder, stake.staked) == ("alice", Decimal(20000))
        stake = await fog.ledger.unstake("alice", "20000")
        assert (stake.staked, stake.unbonding, stake.withdrawable) == (
            Decimal(0),
            Decimal(20000),
            Decimal(0),
        )
        assert await fog.ledger.stake_of("alice") == stake
        with pytest.raises(fogcore.ExhaustedError):
            await fog.ledger.withdraw("alice")
        with pytest.raises(fogcore.InvalidInputError):
            await fog.ledger.stake("alice", "0.000001")


async def test_values_can_be_kept_hashed_and_pickled(url: str) -> None:
    async with fogcore.Fog.open(url) as fog:
        await fog.ledger.mint("alice", "10")
        account = await fog.ledger.account("alice")
        assert account is not None
        balance = await fog.ledger.trial_balance()
        for value in (account, balance, fog.asset, fogcore.TaskState.QUEUED):
            assert pickle.loads(pickle.dumps(value)) == value
            assert len({value, pickle.loads(pickle.dumps(value))}) == 1
