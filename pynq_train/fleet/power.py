"""What a board draws: watts that somebody gives, so that energies made of them are estimates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynq_train.errors import BadInput


@dataclass(frozen=True)
class Power:
    """Watts of a board in each of its states.

    Attributes:
        compute_w: while its engine works (Pc).
        idle_w: while it waits, also for the wire (Pidle).
        host_w: while its processor handles a message (default: ``compute_w``).
        source: where the figures come from, for tables.
    """

    compute_w: float
    idle_w: float
    host_w: float | None = None
    source: str = "given"

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            BadInput: one is no positive number, or waiting takes more than working.
        """
        host = self.compute_w if self.host_w is None else self.host_w
        object.__setattr__(self, "host_w", host)
        for name, watts in (("compute", self.compute_w), ("idle", self.idle_w), ("host", host)):
            if not (isinstance(watts, (int, float)) and math.isfinite(watts) and watts > 0):
                raise BadInput(f"power, {name}", expected="watts above 0", found=repr(watts))
        if self.idle_w > min(self.compute_w, host):
            raise BadInput("power", expected="at most as much in idleness as at work",
                           found=f"{self.idle_w:g} W idle, {min(self.compute_w, host):g} W at work")

    @property
    def handling_w(self) -> float:
        """Watts while the processor handles a message."""
        assert self.host_w is not None
        return self.host_w

    @classmethod
    def parse(cls, text: str) -> Power:
        """Return the power of a text: ``COMPUTE,IDLE`` or ``COMPUTE,IDLE,HOST`` in watts.

        Raises:
            BadInput: it is no such text, or a figure is out of range.
        """
        try:
            watts = [float(part) for part in text.split(",")]
        except ValueError:
            watts = []
        if len(watts) not in (2, 3):
            raise BadInput("power", expected="watts at work and idle, such as 3.03,1.99",
                           found=repr(text))
        return cls(watts[0], watts[1], watts[2] if len(watts) == 3 else None)

    def energy(self, compute_s: float, host_s: float, period_s: float) -> float:
        """Return the joules of a period.

        Args:
            compute_s: seconds in which the engine works.
            host_s: seconds in which the processor handles messages.
            period_s: seconds of the period, both included.
        """
        rest = max(period_s - compute_s - host_s, 0.0)
        return self.compute_w * compute_s + self.handling_w * host_s + self.idle_w * rest

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"compute_w": self.compute_w, "idle_w": self.idle_w, "host_w": self.host_w,
                "source": self.source, "kind": "estimated"}


GACOIN = Power(3.03, 1.99, source="Gacoin's device, not ours")
"""What Gacoin measured on the boards of its swarm; no meter has been at a PYNQ board here."""
