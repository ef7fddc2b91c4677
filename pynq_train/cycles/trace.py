"""What the cycle model runs, and when the engine did it: commands and their traces."""

from __future__ import annotations

from dataclasses import dataclass, field

from pynq_train.cycles.compute import Waits
from pynq_train.hw.commands import Opcode
from pynq_train.hw.words import BURST_BEATS
from pynq_train.program.program import Fields


class Zeros(dict[str, int]):
    """Fields of a descriptor, those that its opcode does not have included: they are zero."""

    def __missing__(self, name: str) -> int:
        """Return zero."""
        return 0


@dataclass(frozen=True)
class Command:
    """One descriptor as the cycle model reads it.

    Attributes:
        fields: all fields of the descriptor, by ``section.name``; others are zero.
        taps: weight offset (``woff``) of each tap of its tap table.
    """

    fields: Fields
    taps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Let units read fields that the descriptor does not have."""
        object.__setattr__(self, "fields", Zeros(self.fields))

    @property
    def opcode(self) -> Opcode:
        """What the descriptor asks for."""
        return Opcode(self.fields["pre.opcode"])


@dataclass
class Trace:
    """When one descriptor ran; all cycles count from the start of the program.

    Attributes:
        start: cycle in which its first unit starts.
        end: cycle in which it retires.
        stamps: cycles in which the unit that writes the record starts, and begins the record: words
            2 and 3 of a profiled record.
        array: cycles in which the array had its first operands, and its last step.
        x_beats: words that the X port moved while the array worked on it.
        waits: how the array spent its time.
    """

    start: int = 0
    end: int = 0
    stamps: tuple[int, int] = (0, 0)
    array: tuple[int, int] = (0, 0)
    x_beats: int = 0
    waits: Waits = field(default_factory=Waits)

    @property
    def x_port_cycles(self) -> int:
        """Cycles that the X port needs for its words: one each, and 2 of pause after a burst."""
        return self.x_beats + self.x_beats // BURST_BEATS * 2
