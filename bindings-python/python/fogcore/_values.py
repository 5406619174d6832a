"""What people compare, print and keep: plain values, with no connection to any fog."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, EnumMeta
from typing import Any

from . import _html
from ._errors import InvalidInputError
from ._money import Asset, Money, decimal, text
from ._times import Seconds, instant, length, maybe_instant, span

Units = Callable[[str, str], str]
"""Base units of the fog's asset: of a field, from a decimal text."""


class _Names(EnumMeta):
    """Shows what an enumeration has, and not all that every `str` can."""

    def __dir__(cls) -> list[str]:
        own = (name for each in cls.__mro__[:-1] if isinstance(each, _Names) for name in vars(each))
        return sorted({*cls.__members__, *(name for name in own if not name.startswith("_"))})


class _Name(str, Enum, metaclass=_Names):
    """An enumeration whose members are the core's names."""

    def __str__(self) -> str:
        return str(self.value)


class NodeKind(_Name):
    """The rough kind of a node.

    >>> NodeKind.GPU_BOX == "gpu_box", str(NodeKind.PHONE)
    (True, 'phone')
    """

    PHONE = "phone"
    LAPTOP = "laptop"
    SERVER = "server"
    GPU_BOX = "gpu_box"
    GAME_HOST = "game_host"
    OTHER = "other"


class Liveness(_Name):
    """Whether a node can be counted on.

    ```python
    online = [one async for one in fog.nodes() if one.liveness is fogcore.Liveness.ONLINE]
    ```
    """

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"


class TaskState(_Name):
    """Where a task is in its life.

    >>> [state.value for state in TaskState if not state.is_final]
    ['waiting', 'queued', 'leased']
    """

    WAITING = "waiting"
    QUEUED = "queued"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """Whether it never changes again.

        >>> TaskState.SUCCEEDED.is_final, TaskState.QUEUED.is_final
        (True, False)
        """
        return self in (self.SUCCEEDED, self.FAILED, self.CANCELLED, self.DEAD)


class Sla(_Name):
    """How often a task is done, and so how much its result can be relied on.

    ```python
    task = await fog.submit("add", [1, 2], sla=fogcore.Sla.ONCE)
    ```
    """

    ONCE = "B"
    TWICE = "A"
    THREE_TIMES = "S"


class ParentFailure(_Name):
    """What becomes of a task when one that it waits for ends without success.

    ```python
    cleanup = await fog.submit("add", [0], after=task, if_parent_fails=fogcore.ParentFailure.RUN)
    ```
    """

    CANCEL = "cancel"
    RUN = "run"
    HOLD = "hold"


class HoldState(_Name):
    """What became of a hold.

    ```python
    await fog.ledger.void(hold.id)
    assert (await fog.ledger.posted(hold.id)).hold_state is fogcore.HoldState.VOIDED
    ```
    """

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class Strategy(_Name):
    """How a balancer chooses.

    ```python
    balancer = await fog.balancer(fogcore.Strategy.PREQUAL)
    ```
    """

    ROUND_ROBIN = "RoundRobin"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    RANDOM = "Random"
    LEAST_CONNECTIONS = "LeastConnections"
    LATENCY_BASED = "LatencyBased"
    RESOURCE_BASED = "ResourceBased"
    ADAPTIVE_INTELLIGENT = "AdaptiveIntelligent"
    PREQUAL = "Prequal"
    CONSISTENT_HASH = "ConsistentHash"


class BreakerState(_Name):
    """Whether a breaker lets calls through.

    >>> from fogcore import Breaker
    >>> Breaker().state is BreakerState.CLOSED
    True
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class SessionStatus(_Name):
    """Where a session is in its life.

    ```python
    assert session.status is fogcore.SessionStatus.PENDING
    ```
    """

    PENDING = "pending"
    ACTIVE = "active"
    ENDED = "ended"
    FAILED = "failed"


@dataclass(frozen=True)
class Address:
    """Where a node can be reached.

    >>> Node("laptop", addresses=[Address("192.0.2.7", 9000)]).addresses[0].port
    9000
    """

    host: str
    port: int


@dataclass(frozen=True)
class Gpu:
    """One GPU: its model and its memory in MiB.

    >>> Node("box", gpus=[Gpu("T4", memory_mb=16384)]).gpus[0].model
    'T4'
    """

    model: str
    memory_mb: int = 0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a node's owner asks for work, in the fog's asset.

    >>> Rates(per_task="0.01").per_task
    '0.01'
    """

    per_task: Money = 0
    per_busy_second: Money = 0
    per_gib: Money = 0
    per_cpu_hour: Money = 0
    per_memory_gib_hour: Money = 0
    per_gpu_hour: Money = 0

    @classmethod
    def _of(cls, json: Mapping[str, str], asset: Asset) -> Rates:
        return cls(**{name: decimal(amount, asset) for name, amount in json.items()})


@dataclass(frozen=True)
class Node:
    """A node as it registers; what is left out is not known, or as usual.

    Memory and storage are counted in MiB (2**20 bytes).

    >>> Node("laptop", cpu_cores=8, memory_mb=16384).cpu_cores
    8
    """

    id: str
    _: KW_ONLY
    kind: NodeKind = NodeKind.OTHER
    name: str = ""
    owner: str | None = None
    """The account that is paid for its work; without one, it works for free."""
    region: str = ""
    addresses: Sequence[Address] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    cpu_cores: int = 0
    cpu_mhz: int = 0
    memory_mb: int = 0
    storage_mb: int = 0
    bandwidth_mbps: int = 0
    gpus: Sequence[Gpu] = ()
    serves: Sequence[str] = ()
    """The kinds of tasks that it executes; whoever serves them fills it in."""
    slots: int = 0
    """How many tasks it executes at once; `serve(concurrency=…)` fills it in."""
    max_connections: int = 50
    max_zones: int = 5
    rates: Rates = Rates()
    power_budget: Mapping[str, int] = field(default_factory=dict, hash=False)
    """How much power the tasks of a class may draw together, in milliwatts."""

    def _json(self, units: Units) -> dict[str, Any]:
        gpus = [{"model": gpu.model, "memory_mib": gpu.memory_mb} for gpu in self.gpus]
        return {
            "id": self.id,
            "kind": self.kind,
            "name": self.name,
            "owner": self.owner,
            "region": self.region,
            "addresses": [{"host": one.host, "port": one.port} for one in self.addresses],
            "labels": dict(self.labels),
            "resources": {
                "cpu_cores": self.cpu_cores,
                "cpu_mhz": self.cpu_mhz,
                "memory_mib": self.memory_mb,
                "storage_mib": self.storage_mb,
                "bandwidth_mbps": self.bandwidth_mbps,
                "gpus": gpus,
            },
            "serves": list(self.serves),
            "slots": self.slots,
            "max_connections": self.max_connections,
            "max_zones": self.max_zones,
            "rates": {
                name: units(f"rates.{name}", text(amount))
                for name, amount in vars(self.rates).items()
            },
            "power_budget": dict(self.power_budget),
        }

    @classmethod
    def _of(cls, json: Any, asset: Asset) -> Node:
        has = json["resources"]
        return cls(
            json["id"],
            kind=NodeKind(json["kind"]),
            name=json["name"],
            owner=json["owner"],
            region=json["region"],
            addresses=tuple(Address(one["host"], one["port"]) for one in json["addresses"]),
            labels=json["labels"],
            cpu_cores=has["cpu_cores"],
            cpu_mhz=has["cpu_mhz"],
            memory_mb=has["memory_mib"],
            storage_mb=has["storage_mib"],
            bandwidth_mbps=has["bandwidth_mbps"],
            gpus=tuple(Gpu(gpu["model"], gpu["memory_mib"]) for gpu in has["gpus"]),
            serves=tuple(json["serves"]),
            slots=json["slots"],
            max_connections=json["max_connections"],
            max_zones=json["max_zones"],
            rates=Rates._of(json["rates"], asset),
            power_budget=json.get("power_budget", {}),
        )


@dataclass(frozen=True, kw_only=True)
class Power:
    """What decides whether a device may work without its owner noticing.

    >>> Vitals(power=Power(battery=15, metered=True)).power.charging
    False
    """

    battery: float | None = None
    """Charge in per cent; none if there is no battery."""
    charging: bool = False
    temperature: float | None = None
    """The hottest of CPU, battery and skin, in degrees Celsius."""
    metered: bool = False
    """Whether the network is paid by volume."""
    user_active: bool = False


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """How a node is. What is not measured is left out: unknown is not zero.

    >>> Vitals(cpu=25.0, power=Power(battery=80, charging=True)).cpu
    25.0
    """

    latency: float | None = None
    """Round-trip time to the coordinator, in milliseconds."""
    loss: float | None = None
    """Packets lost, in per cent."""
    cpu: float | None = None
    """CPU in use, in per cent; so are the next ones."""
    memory: float | None = None
    storage: float | None = None
    bandwidth: float | None = None
    gpu: float | None = None
    connections: int = 0
    """Connections (players) now; a serving node counts its tasks itself."""
    power: Power | None = None

    def _json(self, sequence: int) -> dict[str, Any]:
        power = None if self.power is None else vars(self.power)
        return {**vars(self), "power": power, "sequence": sequence}

    @classmethod
    def _of(cls, json: Any) -> Vitals:
        given = {name: value for name, value in json.items() if name != "sequence"}
        power = json["power"]
        return cls(**{**given, "power": None if power is None else Power(**power)})


@dataclass(frozen=True, kw_only=True)
class NodeStatus:
    """A node with what is known of it.

    ```python
    async for status in fog.nodes():
        print(status.node.id, status.liveness, status.ineligible or "may work")
    ```
    """

    node: Node
    registered_at: datetime
    last_seen: datetime
    liveness: Liveness
    ineligible: str | None
    """Why its power state does not let it work; none if it does."""
    quality: float
    """0–100."""
    vitals: Vitals | None

    @classmethod
    def _of(cls, json: Any, asset: Asset) -> NodeStatus:
        beat = json["heartbeat"]
        return cls(
            node=Node._of(json["node"], asset),
            registered_at=instant(json["registered_at"]),
            last_seen=instant(json["last_seen"]),
            liveness=Liveness(json["liveness"]),
            ineligible=json["ineligible"],
            quality=json["quality"],
            vitals=None if beat is None else Vitals._of(beat),
        )


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long a task waits between attempts.

    ```python
    retry = fogcore.Retry(initial=0.5, at_most=30)
    task = await fog.submit("add", [1, 2], retry=retry, max_attempts=5)
    ```
    """

    initial: Seconds = 1
    factor: float = 2.0
    """What each further attempt multiplies it with, 1–10."""
    at_most: Seconds = 300
    jitter: float = 0.2
    """How much of the wait may be taken off, 0–1."""

    def _json(self) -> dict[str, Any]:
        return {
            "initial": span(self.initial, "retry.initial"),
            "factor": self.factor,
            "max": span(self.at_most, "retry.at_most"),
            "jitter": self.jitter,
        }


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a task needs of its node. What is left out is not asked for.

    >>> Needs(cpu=0.5, memory_mb=512, labels={"os": "linux"}).cpu
    0.5
    """

    cpu: float = 0
    """Cores, for the task alone; in thousandths."""
    memory_mb: int = 0
    storage_mb: int = 0
    bandwidth_mbps: int = 0
    gpus: float = 0
    """Whole GPUs, or a part of one: 0.25."""
    gpu_memory_mb: int = 0
    gpu_models: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    region: str | None = None
    max_latency: float | None = None
    """In milliseconds."""
    min_quality: float | None = None
    max_price: Money | None = None
    """For a task of one second that moves nothing."""
    exclusive: bool = False
    """Whether it wants the node for itself."""

    def _json(self, units: Units) -> dict[str, Any]:
        whole, milli = _gpus(self.gpus)
        gpus = {"count": whole, "milli": milli, "memory_mib": self.gpu_memory_mb}
        labels = sorted(self.labels.items())
        price = None if self.max_price is None else units("needs.max_price", text(self.max_price))
        return {
            "cpu_milli": _milli("needs.cpu", self.cpu),
            "memory_mib": self.memory_mb,
            "storage_mib": self.storage_mb,
            "bandwidth_mbps": self.bandwidth_mbps,
            "gpus": {**gpus, "models": list(self.gpu_models)} if whole else {},
            "required": [{"op": "in", "key": key, "values": [value]} for key, value in labels],
            "region": self.region,
            "max_latency": self.max_latency,
            "min_quality": self.min_quality,
            "max_price": price,
            "exclusive": self.exclusive,
        }


def _milli(name: str, number: float) -> int:
    """Thousandths, of a number that has no more than three decimals."""
    milli = round(number * 1_000) if math.isfinite(number) else -1
    if milli < 0 or not math.isclose(milli, number * 1_000, abs_tol=1e-6):
        why = "must be zero or more, in thousandths"
        raise InvalidInputError(f"{name}: {why}", name)
    return milli


def _gpus(number: float) -> tuple[int, int]:
    """How many GPUs, and how many thousandths of each."""
    milli = _milli("needs.gpus", number)
    if milli % 1_000 == 0:
        return milli // 1_000, 1_000
    if milli > 1_000:
        raise InvalidInputError("needs.gpus: more than one must be whole ones", "needs.gpus")
    return 1, milli


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """A task as it is now.

    ```python
    info = await task.wait()
    print(info.state, info.done_by, info.paid, info.busy)
    ```
    """

    id: str
    kind: str
    state: TaskState
    submitted_at: datetime
    attempts: int
    """Attempts begun, without those that were given back."""
    node: str | None
    """Who holds it."""
    lease_expires_at: datetime | None
    progress: float | None
    """The share done, 0–1, as its node told last."""
    note: str | None
    """What its node said with that."""
    failure: str | None
    """Why the latest attempt, or the task, ended without success."""
    done_by: str | None
    """The node that did it."""
    paid: Decimal
    """What its node's owner was paid."""
    busy: timedelta | None
    """How long it kept a slot busy, when it is done."""
    ended_at: datetime | None

    @classmethod
    def _of(cls, json: Any, asset: Asset) -> TaskInfo:
        lease, progress = json.get("lease"), json.get("progress") or {}
        busy = (json.get("usage") or {}).get("busy")
        return cls(
            id=json["id"],
            kind=json["spec"]["kind"],
            state=TaskState(json["state"]),
            submitted_at=instant(json["submitted_at"]),
            attempts=json["attempts"],
            node=lease and lease["node"],
            lease_expires_at=lease and instant(lease["expires_at"]),
            progress=progress.get("done"),
            note=progress.get("note"),
            failure=json.get("failure"),
            done_by=json.get("done_by"),
            paid=decimal(json["paid"], asset),
            busy=None if busy is None else length(busy),
            ended_at=maybe_instant(json.get("ended_at")),
        )


@dataclass(frozen=True)
class LogLine:
    """A line of a task's log, with its number from 1.

    >>> LogLine(1, "begun").text
    'begun'
    """

    number: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Considered:
    """A node that was considered for a task.

    ```python
    for one in (await fog.explain("add")).considered:
        print(one.node, one.refused or one.score)
    ```
    """

    node: str
    refused: str | None
    """Which filter refused it, if one did."""
    score: float
    """The sum of value × weight over all terms, 0–1."""
    terms: Mapping[str, float] = field(hash=False)
    """How good it is in each term, 0–1."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a task went where it went, or nowhere. `str()` and Jupyter tell it to people.

    ```python
    await task.wait()
    explanation = await task.explain()
    print(explanation.chosen, explanation.reason)
    ```
    """

    chosen: str | None
    """The node that got the task; none if nobody could."""
    reason: str
    weights: Mapping[str, float] = field(hash=False)
    """How much each term counted."""
    considered: Sequence[Considered]
    at: datetime
    text: str = field(repr=False)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def _of(cls, json: Any) -> Explanation:
        told, json = json
        considered = tuple(
            Considered(
                node=one["node"],
                refused=one["refused"]["filter"] if one.get("refused") else None,
                score=one["score"],
                terms=one.get("terms", {}),
            )
            for one in json["considered"]
        )
        return cls(
            chosen=json["chosen"],
            reason=json["reason"],
            weights=json.get("weights", {}),
            considered=considered,
            at=instant(json["at"]),
            text=told,
        )

    def _repr_html_(self) -> str:
        terms = sorted({term for one in self.considered for term in one.terms})
        rows = [
            [one.node, f"{one.score:.3f}"]
            + [f"{one.terms[term]:.2f}" if term in one.terms else "" for term in terms]
            + [one.refused or ""]
            for one in self.considered
        ]
        heads = ["node", "score"]
        heads += [f"{term} × {self.weights.get(term, 0):.2f}" for term in terms]
        title = self.text.partition("\n")[0]
        return _html.table(title, [*heads, "refused by"], rows, chosen=self.chosen)


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as it is now.

    ```python
    alice = await fog.ledger.account("alice")
    print(alice.available, alice.debits_pending, alice.asset)
    ```
    """

    id: str
    asset: Asset
    available: Decimal
    """What can be spent: posted credits less all debits, pending ones included."""
    owing: Decimal
    """What can be paid back: posted debits less all credits, pending ones included."""
    debits_pending: Decimal
    debits_posted: Decimal
    credits_pending: Decimal
    credits_posted: Decimal
    may_owe: bool
    history: bool
    closed: bool
    opened_at: datetime

    @classmethod
    def _of(cls, json: Any) -> Account:
        asset = Asset._of(json["asset"])
        counters = (
            "debits_pending",
            "debits_posted",
            "credits_pending",
            "credits_posted",
        )
        amounts = {name: decimal(json[name], asset) for name in ("available", "owing", *counters)}
        return cls(
            id=json["id"],
            asset=asset,
            may_owe=not json["debits_must_not_exceed_credits"],
            history=json["history"],
            closed=json["closed"],
            opened_at=instant(json["opened_at"]),
            **amounts,
        )


@dataclass(frozen=True, kw_only=True)
class Posted:
    """A transfer in the ledger.

    ```python
    posted = await fog.ledger.transfer("alice", "bob", "2.5")
    assert posted.amount == Decimal("2.5") and not posted.repeated
    ```
    """

    id: str
    asset: Asset
    debit: str | None
    """Who gave; none of what ends a hold, which knows it."""
    credit: str | None
    hold: str | None
    """The hold that it ends, if it ends one."""
    purpose: str
    amount: Decimal | None
    """What was moved or reserved; none of what frees a hold."""
    at: datetime
    hold_state: HoldState | None
    """What became of it, if it is a hold."""
    repeated: bool
    """Whether it was there already, as it was asked for."""

    @classmethod
    def _of(cls, json: Any) -> Posted:
        asset, state, amount = (
            Asset._of(json["asset"]),
            json["hold_state"],
            json["amount"],
        )
        return cls(
            id=json["id"],
            asset=asset,
            debit=json["debit"],
            credit=json["credit"],
            hold=json["hold"],
            purpose=json["purpose"],
            amount=None if amount is None else decimal(amount, asset),
            at=instant(json["at"]),
            hold_state=None if state is None else HoldState(state),
            repeated=not json["new"],
        )


@dataclass(frozen=True, kw_only=True)
class AssetTotal:
    """The sums over all accounts of an asset.

    ```python
    for total in await fog.ledger.trial_balance():
        print(total.asset, total.accounts, total.debits_posted)
    ```
    """

    asset: Asset
    accounts: int
    debits_pending: Decimal
    debits_posted: Decimal
    credits_pending: Decimal
    credits_posted: Decimal


@dataclass(frozen=True)
class TrialBalance:
    """The sums over all accounts, asset by asset: in sound books, debits equal credits.

    ```python
    balance = await fog.ledger.trial_balance()
    assert balance.is_balanced, balance
    ```
    """

    is_balanced: bool
    totals: Sequence[AssetTotal]

    @classmethod
    def _of(cls, json: Any) -> TrialBalance:
        balanced, sums = json
        counters = (
            "debits_pending",
            "debits_posted",
            "credits_pending",
            "credits_posted",
        )
        totals = []
        for one in sums["assets"]:
            asset = Asset._of(one["asset"])
            amounts = {name: decimal(one[name], asset) for name in counters}
            totals.append(AssetTotal(asset=asset, accounts=one["accounts"], **amounts))
        return cls(balanced, tuple(totals))

    def __iter__(self) -> Iterator[AssetTotal]:
        return iter(self.totals)

    def _repr_html_(self) -> str:
        heads = [
            "asset",
            "accounts",
            "debits",
            "credits",
            "debits pending",
            "credits pending",
        ]
        rows = [
            [
                one.asset.code,
                str(one.accounts),
                f"{one.debits_posted.normalize():f}",
                f"{one.credits_posted.normalize():f}",
                f"{one.debits_pending.normalize():f}",
                f"{one.credits_pending.normalize():f}",
            ]
            for one in self.totals
        ]
        return _html.table("balanced" if self.is_balanced else "NOT BALANCED", heads, rows)


@dataclass(frozen=True, kw_only=True)
class Stake:
    """What a holder has at stake.

    ```python
    stake = await fog.ledger.stake_of("alice")
    print(stake.staked, stake.withdrawable)
    ```
    """

    holder: str
    staked: Decimal
    """The holder's voting power."""
    unbonding: Decimal
    """What was unstaked and not withdrawn."""
    withdrawable: Decimal
    """What of that can be withdrawn."""

    @classmethod
    def _of(cls, json: Any, asset: Asset) -> Stake:
        names = ("staked", "unbonding", "withdrawable")
        amounts = {name: decimal(json[name], asset) for name in names}
        return cls(holder=json["holder"], **amounts)


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of players on a host.

    ```python
    session = await fog.signaling.activate(session.id)
    print(session.host, session.status, len(session.players))
    ```
    """

    id: str
    number: int
    host: str
    zone: str
    status: SessionStatus
    max_players: int
    players: frozenset[str]
    created_at: datetime
    ended_at: datetime | None
    end_reason: str | None

    @classmethod
    def _of(cls, json: Any) -> Session:
        return cls(
            id=json["id"],
            number=json["number"],
            host=json["host"],
            zone=json["zone"],
            status=SessionStatus(json["status"]),
            max_players=json["max_players"],
            players=frozenset(json["players"]),
            created_at=instant(json["created_at"]),
            ended_at=maybe_instant(json["ended_at"]),
            end_reason=json["end_reason"],
        )


@dataclass(frozen=True, kw_only=True)
class Mail:
    """What a peer left for others who poll.

    ```python
    mail = await fog.signaling.put_mail(session.id, "ann", fogcore.Offer(sdp))
    assert mail.offer == sdp and not mail.ended
    ```
    """

    peer: str
    offer: str | None
    answer: str | None
    candidates: Sequence[str]
    ended: bool
    """Whether there are no more candidates."""

    @classmethod
    def _of(cls, json: Any) -> Mail:
        return cls(
            peer=json["peer"],
            offer=json["offer"],
            answer=json["answer"],
            candidates=tuple(json["candidates"]),
            ended=json["ended"],
        )
