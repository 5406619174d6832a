"""Accounts, transfers and stakes: exact, in double entry, durable when answered."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any, Union, overload

from . import _fogcore
from ._bridge import ask, call, dumps
from ._errors import FogError, of_kind
from ._fogcore import Transfer
from ._money import Asset, Money, text
from ._times import moment
from ._values import Account, Posted, Stake, TrialBalance

_PAGE = 1_000
MAX_BATCH = 8_190
"""The most transfers of one batch."""


class TransferAnswers(Sequence[Union[Posted, FogError]]):
    """The answers to a batch: for each transfer what was posted, or the error that refused it.

    They are made when they are looked at, so a large batch costs little.

    ```python
    pay = [fogcore.Transfer.direct("alice", "bob", amount) for amount in ("1", "2", "1e9")]
    answers = await fog.ledger.transfer_all(pay)
    print(answers[0], answers.refused)
    ```
    """

    def __init__(self, native: _fogcore.Answers) -> None:
        self._native = native

    def __len__(self) -> int:
        return len(self._native)

    @overload
    def __getitem__(self, place: int) -> Posted | FogError: ...

    @overload
    def __getitem__(self, place: slice) -> list[Posted | FogError]: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        length = len(self)
        if not -length <= place < length:
            raise IndexError(place)
        _, answer = json.loads(self._native.at(place % length))
        if "done" in answer:
            return Posted._of(answer["done"])
        return of_kind(**answer["refused"], retry_after=None)

    @property
    def refused(self) -> dict[int, FogError]:
        """Those that were refused, by their place in the batch."""
        found = {place: self[place] for place in self._native.refused()}
        return {place: error for place, error in found.items() if isinstance(error, FogError)}

    def check(self) -> TransferAnswers:
        """These answers, if none was refused; else raises the first error.

        ```python
        pay = [fogcore.Transfer.direct("alice", "bob", 1)]
        for posted in (await fog.ledger.transfer_all(pay)).check():
            print(posted.id)
        ```
        """
        for error in self.refused.values():
            raise error
        return self

    def __repr__(self) -> str:
        return f"<TransferAnswers: {len(self)}, {len(self._native.refused())} refused>"


class Ledger:
    """The ledger of a fog.

    Amounts are `Decimal`, decimal texts or whole numbers, of the asset of the account that they
    are of; they come back as `Decimal`.

    ```python
    await fog.ledger.mint("alice", "100")
    await fog.ledger.open_account("bob")
    await fog.ledger.transfer("alice", "bob", "2.5")
    ```
    """

    def __init__(self, fog: _fogcore.Fog, asset: Asset) -> None:
        self._native = _fogcore.Ledger(fog)
        self._asset = asset

    async def open_account(
        self,
        id: str,
        *,
        asset: Asset | str | None = None,
        may_owe: bool = False,
        history: bool = False,
    ) -> Account:
        """Opens an account; again on the same terms, it is returned as it is.

        Args:
            id: 1–128 visible characters.
            asset: What it counts: an `Asset`, a known code, or ``CODE:DECIMALS``; the fog's own
                unless told.
            may_owe: Whether it may spend more than it was given.
            history: Whether its balance after each transfer is kept.

        Raises:
            ConflictError: It exists on other terms.

        ```python
        dave = await fog.ledger.open_account("dave", asset="USD", history=True)
        print(dave.available, dave.asset)
        ```
        """
        named = f"{asset.code}:{asset.scale}" if isinstance(asset, Asset) else asset
        return Account._of(await ask(self._native.open_account, id, named, may_owe, history))

    async def account(self, id: str) -> Account | None:
        """An account as it is now, if it is there.

        ```python
        alice = await fog.ledger.account("alice")
        print(alice.available if alice else "no such account")
        ```
        """
        found = await ask(self._native.account, id)
        return None if found is None else Account._of(found)

    async def accounts(self, *, closed: bool | None = None) -> AsyncIterator[Account]:
        """All accounts, by id.

        ```python
        async for account in fog.ledger.accounts(closed=False):
            print(account.id, account.available, account.asset)
        ```
        """
        asked, after = dumps({"closed": closed}), None
        while True:
            page = await ask(self._native.accounts, asked, after, _PAGE)
            for each in page:
                yield Account._of(each)
            if len(page) < _PAGE:
                return
            after = page[-1]["id"]

    async def mint(self, account: str, amount: Money) -> Posted:
        """Gives an account new supply of the fog's asset; opens it if need be.

        Raises:
            ExhaustedError: Beyond the maximum supply.

        ```python
        posted = await fog.ledger.mint("alice", Decimal("100.5"))
        ```
        """
        return Posted._of(await ask(self._native.mint, account, text(amount)))

    async def transfer(
        self, debit: str, credit: str, amount: Money, *, id: str | None = None
    ) -> Posted:
        """Moves an amount; it is in the store when this returns.

        Args:
            debit: Who gives.
            credit: Who gets.
            amount: How much.
            id: Your own id (a UUID) for it: sent twice, it happens once.

        Raises:
            ExhaustedError: Who gives has not enough.
            NotFoundError: An account is not there.

        ```python
        id = str(uuid.uuid4())
        assert not (await fog.ledger.transfer("alice", "bob", "2.5", id=id)).repeated
        assert (await fog.ledger.transfer("alice", "bob", "2.5", id=id)).repeated
        ```
        """
        return await self._one(Transfer.direct(debit, credit, amount, id=id))

    async def hold(
        self,
        debit: str,
        credit: str,
        amount: Money,
        *,
        timeout_seconds: int = 0,
        id: str | None = None,
    ) -> Posted:
        """Reserves an amount; its `id` is what `post` and `void` want.

        ```python
        hold = await fog.ledger.hold("alice", "bob", 5, timeout_seconds=3_600)
        await fog.ledger.post(hold.id, "4.5")
        ```
        """
        seconds = timeout_seconds
        return await self._one(Transfer.hold(debit, credit, amount, timeout_seconds=seconds, id=id))

    async def post(
        self, hold: str, amount: Money | None = None, *, id: str | None = None
    ) -> Posted:
        """Moves a part of a hold, or all of it, and frees the rest.

        ```python
        await fog.ledger.post(hold.id)
        ```
        """
        return await self._one(Transfer.post(hold, amount, id=id))

    async def void(self, hold: str, *, id: str | None = None) -> Posted:
        """Frees all of a hold.

        ```python
        await fog.ledger.void(hold.id)
        ```
        """
        return await self._one(Transfer.void(hold, id=id))

    async def _one(self, transfer: Transfer) -> Posted:
        answer = (await self.transfer_all([transfer]))[0]
        if isinstance(answer, FogError):
            raise answer
        return answer

    async def transfer_all(self, transfers: Iterable[Transfer]) -> TransferAnswers:
        """Applies up to 8,190 transfers in order, in one durable step, and answers each.

        Raises:
            InvalidInputError: They are too many, or an amount is none: then none is applied, and
                `field` says which it is: ``transfers[3].amount``.

        ```python
        fee = fogcore.Transfer.direct("alice", "carol", "0.1", linked=True)
        price = fogcore.Transfer.direct("alice", "bob", 2)
        answers = await fog.ledger.transfer_all([fee, price])  # both, or neither
        ```
        """
        return TransferAnswers(await call(self._native.transfer_all, list(transfers)))

    async def posted(self, id: str) -> Posted | None:
        """A transfer that was applied, if it was.

        ```python
        found = await fog.ledger.posted(hold.id)
        print(found.hold_state if found else "never heard of it")
        ```
        """
        found = await ask(self._native.posted, id)
        return None if found is None else Posted._of(found)

    async def transfers(
        self,
        *,
        account: str | None = None,
        purpose: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[Posted]:
        """The journal in its order: the transfers that match.

        ```python
        yesterday = fog.now - timedelta(days=1)
        async for posted in fog.ledger.transfers(account="alice", since=yesterday):
            print(posted.at, posted.purpose, posted.amount)
        ```
        """
        asked = dumps(
            {
                "account": account,
                "purpose": purpose,
                "from": None if since is None else moment(since, "since"),
                "until": None if until is None else moment(until, "until"),
            }
        )
        after = None
        while True:
            page = await ask(self._native.transfers, asked, after, _PAGE)
            for _, each in page:
                yield Posted._of(each)
            if len(page) < _PAGE:
                return
            after = page[-1][0]

    async def trial_balance(self) -> TrialBalance:
        """The sums over all accounts, asset by asset.

        ```python
        balance = await fog.ledger.trial_balance()
        assert balance.is_balanced
        ```
        """
        return TrialBalance._of(await ask(self._native.trial_balance))

    async def verify(self) -> int:
        """Proves that the books are as they were written; how many transfers there are.

        Raises:
            InternalError: Something was changed behind the ledger's back.

        ```python
        print(await fog.ledger.verify(), "transfers are as they were written")
        ```
        """
        found: int = (await ask(self._native.verify))["transfers"]
        return found

    # Stakes

    async def stake_of(self, holder: str) -> Stake:
        """What a holder has at stake.

        ```python
        print((await fog.ledger.stake_of("alice")).staked)
        ```
        """
        return self._stake(await ask(self._native.stake_of, holder))

    async def stake(self, holder: str, amount: Money, *, id: str | None = None) -> Stake:
        """Stakes more.

        Raises:
            InvalidInputError: The stake would be less than the least one.
            ExhaustedError: The holder has less.

        ```python
        stake = await fog.ledger.stake("alice", 2_000)
        ```
        """
        return self._stake(await ask(self._native.stake, holder, text(amount), id))

    async def unstake(self, holder: str, amount: Money, *, id: str | None = None) -> Stake:
        """Begins to release a part of a stake, or all of it.

        ```python
        await fog.ledger.stake("alice", 2_000)
        stake = await fog.ledger.unstake("alice", 2_000)
        print(stake.unbonding)
        ```
        """
        return self._stake(await ask(self._native.unstake, holder, text(amount), id))

    async def withdraw(self, holder: str, *, id: str | None = None) -> Posted:
        """Gives the holder back all that was unstaked long enough ago.

        Raises:
            ExhaustedError: There is nothing.

        ```python
        stake = await fog.ledger.stake_of("alice")
        if stake.withdrawable:
            await fog.ledger.withdraw("alice")
        ```
        """
        return Posted._of(await ask(self._native.withdraw, holder, id))

    def _stake(self, json: Any) -> Stake:
        return Stake._of(json, self._asset)
