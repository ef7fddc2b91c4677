"""What a link to a member costs: latency and bandwidth of whole messages, measured."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.fleet.remote import Remote

_SMALL = 1 << 10


@dataclass(frozen=True)
class LinkCost:
    """A message of n bytes takes about ``latency_s + n / bytes_per_s`` from one side to the other.

    Measured from program to program: with digests, encryption and copies, as segments have it.

    Attributes:
        member: name of the member.
        latency_s: seconds of a small message in one direction.
        bytes_per_s: bytes per second of a large one in one direction.
        worst_s: seconds of the slowest small message in one direction.
        rounds: messages of each size.
        nbytes: bytes of the large ones.
    """

    member: str
    latency_s: float
    bytes_per_s: float
    worst_s: float
    rounds: int
    nbytes: int

    def seconds(self, nbytes: int) -> float:
        """Return the seconds that a message of ``nbytes`` takes in one direction."""
        return self.latency_s + nbytes / self.bytes_per_s

    def text(self) -> str:
        """Return it as a line."""
        return (f"{self.member}: {1e3 * self.latency_s:.2f} ms and {self.bytes_per_s / 1e6:.1f} "
                f"MB/s in one direction (measured: medians of {self.rounds} messages of 1 KB and "
                f"{self.nbytes >> 10} KB there and back; slowest small one "
                f"{1e3 * self.worst_s:.2f} ms)")

    def values(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"member": self.member, "latency_s": self.latency_s,
                "bytes_per_s": self.bytes_per_s, "worst_s": self.worst_s, "rounds": self.rounds,
                "nbytes": self.nbytes, "kind": "measured"}


def measure(member: Remote, rounds: int = 20, nbytes: int = 1 << 20,
            seconds: float = 60.0) -> LinkCost:
    """Measure the link to a member by messages that it sends back.

    Args:
        member: it does not work meanwhile, or it would be measured too.
        rounds: messages of each size.
        nbytes: bytes of the large messages.
        seconds: to the deadline of each.

    Raises:
        BadInput: less than 3 rounds, or large messages that are none.
        FleetError: the member does not answer.
    """
    if not 3 <= rounds <= 10_000:
        raise BadInput("rounds", expected="an integer of 3 to 10000", found=rounds)
    if nbytes < 16 * _SMALL:
        raise BadInput("bytes of the large messages", expected=f"at least {16 * _SMALL}",
                       found=nbytes)
    member.echo({"warm": np.zeros(nbytes, np.uint8)}, seconds)
    small = _times(member, rounds, _SMALL, seconds)
    large = _times(member, rounds, nbytes, seconds)
    latency = statistics.median(small) / 2
    # A noisy machine can have a large message overtake a small one.
    more = max(statistics.median(large) / 2 - latency, 1e-9)
    return LinkCost(member.name, latency, (nbytes - _SMALL) / more, max(small) / 2, rounds, nbytes)


def _times(member: Remote, rounds: int, nbytes: int, seconds: float) -> list[float]:
    """Return the seconds of messages there and back."""
    data = {"data": np.zeros(nbytes, np.uint8)}
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        member.echo(data, seconds)
        found.append(time.perf_counter() - begin)
    return found
