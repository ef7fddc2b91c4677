"""What a transport is: members listen, coordinators connect and ask, with a deadline.

A transport never asks twice: whoever gets :class:`~pynq_train.errors.MemberLost` does not know
whether the request was carried out, and starts again from a state that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pynq_train.errors import BadInput, MemberBusy, MemberLost, Overdue

Answer = Callable[[bytes], None]
"""Takes the answer to one request, from any thread, once."""
Admit = Callable[[bytes, Answer], None]
"""Takes a request and what to call with its answer; returns at once, from any thread."""

MOST_UNDER_WAY = 4
"""Requests of one connection that may wait for their answers."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Beats:
    """How a dead or hung peer is noticed.

    Attributes:
        lease_s: seconds without a byte after which a peer is taken for lost.
        per_lease: signs of life in these seconds.
    """

    lease_s: float = 1.5
    per_lease: int = 4

    def __post_init__(self) -> None:
        """Refuse what would call everybody dead, or nobody.

        Raises:
            BadInput: the lease is not of 0.1 to 60 s, or has less than 2 signs of life.
        """
        if not 0.1 <= self.lease_s <= 60 or not 2 <= self.per_lease <= 100:
            raise BadInput("signs of life", expected="a lease of 0.1 to 60 s with 2 to 100 of them",
                           found=f"{self.lease_s} s with {self.per_lease}")

    @property
    def interval_s(self) -> float:
        """Seconds between two signs of life."""
        return self.lease_s / self.per_lease


class Listener(Protocol):
    """A member's open ear."""

    @property
    def address(self) -> str:
        """Where it listens, with the port that was really taken."""

    def close(self) -> None:
        """Stop listening, close all connections; a second call does nothing."""


class Connection(Protocol):
    """A coordinator's link to one member; any thread may ask."""

    @property
    def lost(self) -> bool:
        """Whether the member is known to be gone; it stays so."""

    def request(self, data: bytes, seconds: float) -> bytes:
        """Send a request, return its answer.

        Args:
            data: the request.
            seconds: to the deadline.

        Raises:
            MemberLost: the member is dead, hung or cut off.
            Overdue: it lives, but there is no answer by the deadline; one that comes later is
                dropped.
            MemberBusy: ``MOST_UNDER_WAY`` requests wait already.
        """

    def close(self) -> None:
        """Let go of the link; a second call does nothing."""


class Transport(Protocol):
    """Makes listeners and connections."""

    def listen(self, name: str, address: str, admit: Admit) -> Listener:
        """Listen as member ``name``; ``admit`` takes what comes.

        Raises:
            BadInput: the address is malformed, or taken.
        """

    def connect(self, name: str, address: str, seconds: float = 5.0) -> Connection:
        """Connect to member ``name``.

        Raises:
            MemberLost: nobody answers there within ``seconds``.
            JoinRefused: somebody does, but certificates or names do not fit.
        """

    def close(self) -> None:
        """Close all listeners and connections; a second call does nothing."""


def check_name(name: str) -> str:
    """Return a member's name, which stands in certificates.

    Raises:
        BadInput: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput("name of a member", found=repr(name)[:80],
                       expected="1 to 63 small letters, digits, and '-' between them")
    return name


def host_and_port(address: str) -> tuple[str, int]:
    """Return both parts of an address.

    Raises:
        BadInput: it is none; IPv6 addresses stand in brackets.
    """
    host, _, port = address.rpartition(":")
    bare = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    plain = (bare == host and ":" not in host) or bare != host
    if not bare or not plain or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise BadInput("address of a member", expected="HOST:PORT, such as 192.168.2.99:7447",
                       found=repr(address)[:80])
    return bare, int(port)


def lost(name: str, why: str) -> MemberLost:
    """Return the error of a member that is gone."""
    return MemberLost(f"member {name!r} is lost ({why})", member=name,
                      fix="see whether it runs (pynq-train fleet status) and join it again")


def overdue(name: str, seconds: float) -> Overdue:
    """Return the error of an answer that has not come."""
    return Overdue(f"member {name!r} lives but has not answered within {seconds:g} s", member=name,
                   fix="allow it more time, or give it less to do")


def too_many(name: str) -> MemberBusy:
    """Return the error of one request too many."""
    return MemberBusy(f"requests to member {name!r} that wait for their answer",
                      expected=f"at most {MOST_UNDER_WAY}", found=MOST_UNDER_WAY + 1,
                      fix="wait for answers first")
