"""The members that a coordinator has: who runs which segment, and who stands by."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pynq_train.errors import BadInput, FleetError, MemberLost, NoMemberLeft, Overdue
from pynq_train.fleet.remote import Remote
from pynq_train.fleet.transport.base import Transport, check_name, host_and_port

_PAUSE_S = 0.5


@dataclass(frozen=True)
class Seat:
    """Name and address of a member."""

    name: str
    address: str


@dataclass
class Crew:
    """Joined members, one for each segment, and spare ones.

    Attributes:
        transport: how members are reached.
        seats: members, in the order of the segments.
        spares: members that take over from one that is lost, in this order. A member that was lost
            is the last of them: it may have come back.
        join_s: seconds that a member may take to let this coordinator in.
        patience_s: seconds for which a place is looked for when no member can be joined; a board
            needs some to start again.
    """

    transport: Transport
    seats: Sequence[Seat]
    spares: Sequence[Seat] = ()
    join_s: float = 10.0
    patience_s: float = 60.0
    remotes: list[Remote] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Check names and addresses.

        Raises:
            BadInput: one is malformed, or a name or an address stands twice.
        """
        everybody = [*self.seats, *self.spares]
        for seat in everybody:
            check_name(seat.name)
            host_and_port(seat.address)
        for what, values in (("name", [seat.name for seat in everybody]),
                             ("address", [seat.address for seat in everybody])):
            if len(set(values)) < len(values):
                raise BadInput("members", expected=f"each {what} once", found=", ".join(values))
        self.seats, self._pool = list(self.seats), list(self.spares)

    def join(self) -> Crew:
        """Join all members but the spare ones.

        Raises:
            FleetError: one of them cannot be joined; those before it are left again.
        """
        try:
            for seat in self.seats[len(self.remotes):]:
                self.remotes.append(self._joined(seat))
        except BaseException:
            self.close()
            raise
        return self

    @property
    def boards(self) -> tuple[str, ...]:
        """Backend of each member, in the order of the segments."""
        return tuple(board_of_member(remote) for remote in self.remotes)

    def numbers(self, member: str) -> list[int]:
        """Return the segments of a member."""
        return [number for number, seat in enumerate(self.seats) if seat.name == member]

    def succeed(self, number: int, error: MemberLost) -> Remote:
        """Join a member in place of the one that ran a segment.

        Args:
            number: of the segment.
            error: how its member was lost.

        Raises:
            NoMemberLeft: nobody can be joined within the patience.
        """
        lost = self.seats[number]
        self.remotes[number].close()
        # One that lives, but does not come to an end, would not let anybody in either.
        candidates = [*self._pool, *([] if isinstance(error, Overdue) else [lost])]
        end, why = time.monotonic() + self.patience_s, str(error)
        while True:
            for seat in candidates:
                try:
                    remote = self._joined(seat)
                except FleetError as problem:
                    why = str(problem)
                    continue
                self._pool = [one for one in (*self._pool, lost) if one != seat]
                self.seats = [seat if at == number else one for at, one in enumerate(self.seats)]
                self.remotes[number] = remote
                return remote
            if time.monotonic() > end or not candidates:
                raise NoMemberLeft(f"segment {number} has no member any more (lost {lost.name!r}, "
                                   f"no other can be joined; the last says: {why})",
                                   member=lost.name, fix="start members, and load a checkpoint")
            time.sleep(_PAUSE_S)

    def leave(self, number: int) -> None:
        """Go on without the member of a segment; it may take one over later, if it comes back."""
        lost = self.seats[number]
        self.remotes[number].close()
        self._pool.append(lost)
        self.seats = [seat for seat in self.seats if seat != lost]
        del self.remotes[number]

    def _joined(self, seat: Seat) -> Remote:
        return Remote.join(self.transport, seat.name, seat.address, self.join_s)

    def close(self) -> None:
        """Leave all members."""
        for remote in self.remotes:
            with contextlib.suppress(FleetError):
                remote.close()
        self.remotes.clear()


def board_of_member(remote: Remote) -> str:
    """Return the backend that a joined member runs."""
    assert remote.identity is not None, "a member that was joined has said who it is"
    return remote.identity.board
