"""Members of a fleet as the place where a learner trains one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pynq_train.backends.names import board_of
from pynq_train.errors import BadInput
from pynq_train.fleet.boards import CutPlanned
from pynq_train.fleet.crew import Crew, Seat
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.identity import Identity
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.training import FleetTrainer, OnLoss
from pynq_train.fleet.transport.base import Transport
from pynq_train.fleet.transport.choice import TRANSPORTS, make_transport
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.quant import ExponentPolicy
from pynq_train.run.masters import Masters
from pynq_train.train.planning import Planned, Training
from pynq_train.train.schedules import whole

COORDINATOR = "coordinator"
"""Name of the certificate of who commands, unless it is given another."""


@dataclass(frozen=True)
class Members:
    """Members of a fleet, each for a segment of the network; made by :meth:`at`.

    It is what ``board=`` of a learner takes.

    Attributes:
        after: operations behind which the network is cut.
        seats: the members, in the order of the segments.
        boards: backend of each.
        keys: folder with the certificates.
        spares: members that take over from one that is lost.
        in_flight: mini-batches of an update that are in the segments at the same time.
        transport: ``tls`` or ``zenoh``.
        coordinator: whose certificate this machine has.
        on_loss: ``replan``: another member takes the segment of a lost one over; ``fewer``: where
            nobody can, it is joined with a segment beside it; ``error``.
        seconds: that a request may take; planning a segment is one, too.
        patience: seconds for which a member is looked for that takes over.
    """

    after: tuple[str, ...]
    seats: tuple[Seat, ...]
    boards: tuple[str, ...]
    keys: str
    spares: tuple[Seat, ...] = ()
    in_flight: int = 1
    transport: str = TRANSPORTS[0]
    coordinator: str = COORDINATOR
    on_loss: OnLoss = "replan"
    seconds: float = 120.0
    patience: float = 60.0

    @classmethod
    def at(cls, after: Sequence[str], members: Mapping[str, str], *, keys: str | Path,
           spares: Mapping[str, str] | None = None, in_flight: int = 1,
           transport: str = TRANSPORTS[0], coordinator: str = COORDINATOR,
           on_loss: OnLoss = "replan", seconds: float = 120.0, patience: float = 60.0
           ) -> Members:
        """Ask members which boards they are, and return them as a place to train at.

        Args:
            after: operations behind which the network is cut.
            members: address ``HOST:PORT`` by name, in the order of the segments.
            keys: folder with the certificates, as ``pynq-train fleet keys`` leaves it.
            spares: likewise, of members that take over from one that is lost.
            in_flight, transport, coordinator, on_loss, seconds, patience: see the attributes.

        Raises:
            BadInput: a name, an address or a certificate is missing or malformed, or there are not
                as many members as segments.
            MemberLost: a member does not answer.
            JoinRefused: certificates, versions or hardware contracts do not fit.
        """
        if isinstance(after, str):
            raise BadInput("after", expected="a list of names of operations",
                           found=repr(after)[:80], fix=f"use after=[{after!r}]")
        if len(members) != len(after) + 1:
            raise BadInput(f"members for {len(after) + 1} segments", found=len(members),
                           expected=f"{len(after) + 1}, one for each",
                           fix="name a member for each segment, or cut at other edges")
        seats = tuple(Seat(name, address) for name, address in members.items())
        rest = tuple(Seat(name, address) for name, address in (spares or {}).items())
        link = make_transport(transport, keys, coordinator)
        try:
            Crew(link, seats, rest)  # checks names and addresses
            boards = tuple(_board_at(link, seat) for seat in seats)
        finally:
            link.close()
        return cls(tuple(after), seats, boards, str(keys), rest, in_flight, transport, coordinator,
                   on_loss, seconds, patience)

    @property
    def name(self) -> str:
        """The names of the boards."""
        return "+".join(self.boards)

    @property
    def board(self) -> Board:
        """The first member's board."""
        return board_of(self.boards[0])

    def joined(self, to: ExitStack) -> Crew:
        """Return the members, joined; ``to`` leaves them.

        Raises:
            FleetError: one of them cannot be joined; none is then.
        """
        link = make_transport(self.transport, self.keys, self.coordinator)
        to.callback(link.close)
        crew = Crew(link, self.seats, self.spares, patience_s=self.patience).join()
        to.callback(crew.close)
        return crew

    def planned(self, graph: Graph, training: Training) -> Planned:
        """Return the plan of a training on these members.

        Raises:
            UnknownName, BadInput: the network cannot be cut there.
            DoesNotFit: a segment is too large for its board.
        """
        return _MembersPlanned(self, graph, training)


class _MembersPlanned(CutPlanned):
    """The plan of a training over members."""

    def __init__(self, place: Members, graph: Graph, training: Training) -> None:
        super().__init__(Cut.of(graph, place.after), place.boards, training,
                         whole("in_flight", place.in_flight, 1, 64))
        self._place = place

    def open(self, masters: Mapping[str, Masters], policy: ExponentPolicy
             ) -> tuple[FleetTrainer, ExitStack]:
        """Join the members, put the segments up; return their trainer, and what ends it all."""
        place = self._place
        with ExitStack() as stack:
            crew = place.joined(stack)
            trainer = FleetTrainer(self.segments, crew, masters, policy, on_loss=place.on_loss,
                                   seconds=place.seconds)
            return trainer, stack.pop_all()


def _board_at(link: Transport, seat: Seat) -> str:
    """Return the backend that a member runs."""
    with Remote.call(link, seat.name, seat.address) as remote:
        identity = Identity.from_values(remote.status()["identity"])
    identity.check(seat.name)
    return identity.board
