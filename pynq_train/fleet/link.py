"""A link between two boards: latency and bytes a second, measured or given."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput

_UNITS = {"kbit": 125.0, "mbit": 125e3, "gbit": 125e6, "kb": 1e3, "mb": 1e6, "gb": 1e9}
"""Bytes a second of one of each unit; ``b`` is a byte, ``bit`` a bit."""
_LATENCIES = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_TEXT = re.compile(r"([-+.\deE]+?)\s*(kbit|mbit|gbit|kb|mb|gb)(?:/s)?"
                   r"(?:\s*,\s*([-+.\deE]+?)\s*(us|ms|s))?")


@dataclass(frozen=True)
class Link:
    """A link; each board has one port, with this rate in each direction.

    Attributes:
        bytes_per_s: bytes a second.
        latency_s: seconds from the last byte sent to the last byte there.
        source: ``measured`` or ``given``, for tables.
    """

    bytes_per_s: float
    latency_s: float = 0.0
    source: str = "given"

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            BadInput: the rate is no positive number, or the latency is below zero.
        """
        if not (math.isfinite(self.bytes_per_s) and self.bytes_per_s > 0):
            raise BadInput("link", expected="more than 0 bytes a second",
                           found=f"{self.bytes_per_s:g}")
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise BadInput("link", expected="a latency of 0 seconds or more",
                           found=f"{self.latency_s:g}")

    @classmethod
    def parse(cls, text: str) -> Link:
        """Return the link of a text: ``100mbit``, ``11MB/s``, ``1gbit,0.3ms``.

        Raises:
            BadInput: it is no such text, or a figure is out of range.
        """
        found = _TEXT.fullmatch(text.strip().lower())
        try:
            if found is None:
                raise ValueError
            rate = float(found[1]) * _UNITS[found[2]]
            latency = float(found[3]) * _LATENCIES[found[4]] if found[3] else 0.0
        except ValueError:
            raise BadInput("link", expected="a rate and perhaps a latency, such as 100mbit, 11MB/s "
                           "or 1gbit,0.3ms", found=repr(text)) from None
        return cls(rate, latency)

    @classmethod
    def slowest(cls, measured: Any) -> Link:
        """Return the link of the slowest latency and rate of what ``fleet bench`` has measured.

        Args:
            measured: the values of its JSON file, one for each member.

        Raises:
            BadInput: they are no such values.
        """
        try:
            rates = [float(one["bytes_per_s"]) for one in measured]
            latencies = [float(one["latency_s"]) for one in measured]
            return cls(min(rates), max(latencies), "measured")
        except (TypeError, KeyError, ValueError):
            raise BadInput("links", expected="the values that 'pynq-train fleet bench --json' "
                           "writes", found=repr(measured)[:80]) from None

    def busy_s(self, nbytes: int) -> float:
        """Return the seconds in which a port sends, or takes, ``nbytes`` and nothing else."""
        return nbytes / self.bytes_per_s

    def seconds(self, nbytes: int) -> float:
        """Return the seconds from the first byte sent to the last byte there."""
        return self.latency_s + self.busy_s(nbytes)

    def text(self) -> str:
        """Return the link in words."""
        return (f"{self.bytes_per_s * 8 / 1e6:g} Mbit/s, {self.latency_s * 1e3:g} ms latency "
                f"({self.source})")

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"bytes_per_s": self.bytes_per_s, "latency_s": self.latency_s,
                "source": self.source}
