"""How peers meet: zones, sessions, and what peers say to each other until they are connected."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Union

from . import _fogcore
from ._bridge import ask, call, dumps
from ._values import Mail, Session

_PAGE = 1_000


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A part of a game's world, and what it asks of the hosts of its sessions.

    >>> Zone(id="forest", max_players=8).max_players
    8
    """

    id: str
    name: str | None = None
    """Its id, unless told."""
    display_name: str = ""
    map_name: str = ""
    max_players: int = 100
    recommended_players: int | None = None
    min_host_quality: float | None = None
    min_bandwidth_mbps: int = 100
    max_latency: float | None = 100.0
    """The most latency of a host, in milliseconds."""

    def _json(self) -> dict[str, Any]:
        recommended = self.recommended_players
        usual = min(50, self.max_players)
        return {
            **vars(self),
            "name": self.id if self.name is None else self.name,
            "recommended_players": usual if recommended is None else recommended,
        }

    @classmethod
    def _of(cls, json: Any) -> Zone:
        return cls(**{name: json["spec"][name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Offer:
    """A session description that asks for an answer, in SDP.

    >>> Offer("v=0")
    Offer(sdp='v=0')
    """

    sdp: str


@dataclass(frozen=True)
class Answer:
    """The answer to an offer, in SDP.

    >>> Answer("v=0")
    Answer(sdp='v=0')
    """

    sdp: str


@dataclass(frozen=True)
class Candidate:
    """An address that the peer may be reached at, as its WebRTC stack gave it.

    >>> Candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host").candidate[:11]
    'candidate:1'
    """

    candidate: str


@dataclass(frozen=True)
class EndOfCandidates:
    """There are no more candidates.

    >>> EndOfCandidates()
    EndOfCandidates()
    """


@dataclass(frozen=True)
class Custom:
    """Something of the application's own, for peers that are connected.

    >>> Custom("ready")
    Custom(data='ready')
    """

    data: str


Signal = Union[Offer, Answer, Candidate, EndOfCandidates, Custom]
"""What peers say to each other."""

_SIGNALS: dict[str, type[Any]] = {
    "offer": Offer,
    "answer": Answer,
    "ice-candidate": Candidate,
    "end-of-candidates": EndOfCandidates,
    "custom": Custom,
}
_NAMES = {signal: name for name, signal in _SIGNALS.items()}


def _signal_text(signal: Signal) -> str:
    if type(signal) not in _NAMES:
        raise TypeError(f"a signal is an Offer, an Answer, …, not {type(signal).__name__}")
    return dumps({"type": _NAMES[type(signal)], **vars(signal)})


def _signal(json: Any) -> Signal:
    rest = {name: value for name, value in json.items() if name != "type"}
    made: Signal = _SIGNALS[json["type"]](**rest)
    return made


@dataclass(frozen=True)
class Joined:
    """The peer is in, and who else is, in the order in which they came.

    >>> Joined(1, ("ann", "bob")).peers
    ('ann', 'bob')
    """

    number: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class PeerJoined:
    """Somebody came.

    >>> PeerJoined(2, "bob").peer
    'bob'
    """

    number: int
    peer: str


@dataclass(frozen=True)
class PeerLeft:
    """Somebody left, or was away for too long.

    >>> PeerLeft(3, "bob").peer
    'bob'
    """

    number: int
    peer: str


@dataclass(frozen=True)
class Signaled:
    """Somebody says how it can be reached; `polite` tells whether to give way to its offer.

    >>> Signaled(4, "bob", Custom("ready"), polite=True).signal
    Custom(data='ready')
    """

    number: int
    sender: str
    signal: Signal
    polite: bool


@dataclass(frozen=True)
class GiveWay:
    """The offer to `to` is void, because one from there goes first.

    >>> GiveWay(5, "bob", "v=0").to
    'bob'
    """

    number: int
    to: str
    sdp: str


Delivery = Union[Joined, PeerJoined, PeerLeft, Signaled, GiveWay]
"""What a peer hears."""


def _delivery(json: Any) -> Delivery:
    number, said = json["number"], json["said"]
    match said["type"]:
        case "joined":
            return Joined(number, tuple(said["peers"]))
        case "peer-joined":
            return PeerJoined(number, said["peer"])
        case "peer-left":
            return PeerLeft(number, said["peer"])
        case "signal":
            return Signaled(number, said["from"], _signal(said["signal"]), said["polite"])
        case _:
            return GiveWay(number, said["to"], said["sdp"])


class PeerConnection:
    """A peer's connection to a session: an iterator over what it hears.

    ```python
    async with await fog.signaling.connect(session.id, "ann") as ann:
        async for delivery in ann:
            match delivery:
                case fogcore.PeerJoined(peer=peer):
                    await ann.send(peer, fogcore.Offer(sdp))
    ```
    """

    def __init__(self, native: _fogcore.PeerConnection, heard: int = 0) -> None:
        self._native = native
        #: The number of the latest delivery that was heard, for `Signaling.resume`.
        self.heard = heard

    @property
    def token(self) -> str:
        """What the peer resumes with after its connection dropped. A secret."""
        return self._native.token

    async def receive(self) -> Delivery | None:
        """What the peer hears next; none once the session is over, the peer left or connected
        anew, or the fog was closed. What came before counts as heard.

        ```python
        while (delivery := await ann.receive()) is not None:
            if isinstance(delivery, fogcore.Joined):
                break
        ```
        """
        if self.heard:
            await call(self._native.acknowledge, self.heard)
        told = await ask(self._native.next)
        if told is None:
            return None
        self.heard = told["number"]
        return _delivery(told)

    async def send(self, to: str, signal: Signal) -> str:
        """Says something to another peer of the session.

        Returns:
            ``delivered``; ``kept`` for a peer that has not joined yet; ``gave-way`` for an offer
            that met another one, and gave way.

        Raises:
            InvalidInputError: It is too large, or empty.
            ExhaustedError: Too much waits for the other one.

        ```python
        if await ann.send("bob", fogcore.Offer(sdp)) == "gave-way":
            print("the offer of bob comes first")
        ```
        """
        sent: str = await ask(self._native.send, to, _signal_text(signal))
        return sent

    async def leave(self) -> None:
        """The peer goes for good, and the others hear of it.

        ```python
        await ann.leave()
        ```
        """
        await call(self._native.leave)

    async def drop(self) -> None:
        """The connection drops: for a while the peer may resume, and the others notice nothing.

        ```python
        token, heard = ann.token, ann.heard
        await ann.drop()
        ann = await fog.signaling.resume(session.id, "ann", token, heard)
        ```
        """
        await call(self._native.drop)

    def __aiter__(self) -> PeerConnection:
        return self

    async def __anext__(self) -> Delivery:
        delivery = await self.receive()
        if delivery is None:
            raise StopAsyncIteration
        return delivery

    async def __aenter__(self) -> PeerConnection:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()


class Signaling:
    """The signaling of a fog.

    ```python
    await fog.signaling.put_zone(fogcore.Zone(id="desert", max_players=8))
    session = await fog.signaling.open_session("laptop", "desert")
    ann = await fog.signaling.connect(session.id, "ann")
    ```
    """

    def __init__(self, fog: _fogcore.Fog) -> None:
        self._native = _fogcore.Signaling(fog)

    async def put_zone(self, zone: Zone) -> Zone:
        """Makes a zone, or changes the one with its id.

        ```python
        await fog.signaling.put_zone(fogcore.Zone(id="desert", min_host_quality=70))
        ```
        """
        return Zone._of(await ask(self._native.put_zone, dumps(zone._json())))

    async def zones(self) -> list[Zone]:
        """All zones, in the order in which they were made.

        ```python
        print([zone.id for zone in await fog.signaling.zones()])
        ```
        """
        zones: list[Zone] = []
        after = 0
        while True:
            page = await ask(self._native.zones, after, _PAGE)
            zones += [Zone._of(each) for each in page]
            if len(page) < _PAGE:
                return zones
            after = page[-1]["number"]

    async def remove_zone(self, id: str) -> bool:
        """Removes a zone; false if it was not there.

        ```python
        await fog.signaling.put_zone(fogcore.Zone(id="desert"))
        assert await fog.signaling.remove_zone("desert")
        ```
        """
        removed: bool = await call(self._native.remove_zone, id)
        return removed

    async def open_session(
        self,
        host: str,
        zone: str,
        *,
        max_players: int | None = None,
        players: Iterable[str] = (),
    ) -> Session:
        """Opens a session of a zone on a host.

        Raises:
            NotFoundError: The host or the zone is not there.
            ConflictError: One of them does not meet a bar; the text names it.

        ```python
        session = await fog.signaling.open_session("laptop", "forest", players=["ann", "bob"])
        ```
        """
        asked = (host, zone, max_players, list(players))
        return Session._of(await ask(self._native.open_session, *asked))

    async def session(self, id: str) -> Session:
        """A session as it is now.

        Raises:
            NotFoundError: It is not there.

        ```python
        print((await fog.signaling.session(session.id)).players)
        ```
        """
        return Session._of(await ask(self._native.session, id))

    async def activate(self, id: str) -> Session:
        """Its host begins.

        ```python
        assert (await fog.signaling.activate(session.id)).status is fogcore.SessionStatus.ACTIVE
        ```
        """
        return Session._of(await ask(self._native.activate, id))

    async def end_session(self, id: str, reason: str = "") -> Session:
        """Ends a session; who is connected to it hears no more.

        ```python
        await fog.signaling.end_session(session.id, reason="the match is over")
        ```
        """
        return Session._of(await ask(self._native.end_session, id, reason))

    async def connect(self, session: str, peer: str) -> PeerConnection:
        """Connects a peer to an open session.

        Raises:
            NotFoundError: The session is not there.
            ConflictError: It is over.
            ExhaustedError: Too many are there, or the peer comes too often.

        ```python
        async with await fog.signaling.connect(session.id, "bob") as bob:
            print(await bob.receive())
        ```
        """
        return PeerConnection(await call(self._native.connect, session, peer))

    async def resume(self, session: str, peer: str, token: str, heard: int) -> PeerConnection:
        """Connects a peer again whose connection dropped, behind the last delivery it heard.

        Raises:
            DeniedError: The token is of another connection, or the peer was away for too long.

        ```python
        await ann.drop()
        ann = await fog.signaling.resume(session.id, "ann", ann.token, ann.heard)
        ```
        """
        native = await call(self._native.resume, session, peer, token, heard)
        return PeerConnection(native, heard)

    async def put_mail(self, session: str, peer: str, signal: Signal) -> Mail:
        """Leaves a signal for the others of a session, durably; for peers that poll.

        ```python
        await fog.signaling.put_mail(session.id, "ann", fogcore.Offer(sdp))
        ```
        """
        asked = (session, peer, _signal_text(signal))
        return Mail._of(await ask(self._native.put_mail, *asked))

    async def mail(self, session: str) -> list[Mail]:
        """What the peers of a session left.

        ```python
        for mail in await fog.signaling.mail(session.id):
            print(mail.peer, mail.offer)
        ```
        """
        return [Mail._of(one) for one in await ask(self._native.mail, session)]
