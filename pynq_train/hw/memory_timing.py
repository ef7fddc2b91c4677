"""Timing of the boards' device memory, as the virtual boards and the cycle model have it."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.limits import OUTSTANDING_BURSTS


@dataclass(frozen=True)
class MemoryTiming:
    """Timing of the device memory.

    Attributes:
        bytes_per_cycle: bandwidth of the DRAM, reads and writes together.
        read_latency_cycles: from the address to the first beat of a read.
        write_latency_cycles: from the last beat to the answer of a write.
        burst_cycles: pause of a port after each burst.
        turn_cycles: cost of a change between reading and writing.
        turn_quantum_cycles: longest stay in one direction while the other waits.
        outstanding_bursts: bursts without an answer that a port takes, reads and writes each; the
            memory ports of the processing system take at least as many as a master issues.
    """

    bytes_per_cycle: int = 16
    read_latency_cycles: int = 40
    write_latency_cycles: int = 20
    burst_cycles: int = 2
    turn_cycles: int = 4
    turn_quantum_cycles: int = 64
    outstanding_bursts: int = OUTSTANDING_BURSTS

    def __post_init__(self) -> None:
        """Refuse a number of bursts that the masters and the memory model do not have."""
        if not 1 <= self.outstanding_bursts <= OUTSTANDING_BURSTS:
            raise ValueError(f"memory timing: outstanding_bursts must be 1..{OUTSTANDING_BURSTS}, "
                             f"found {self.outstanding_bursts}")
