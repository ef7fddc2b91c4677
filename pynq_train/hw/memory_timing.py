"""Timing of the boards' device memory, as the virtual boards and the cycle model have it."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    bytes_per_cycle: int = 16
    read_latency_cycles: int = 40
    write_latency_cycles: int = 20
    burst_cycles: int = 2
    turn_cycles: int = 4
    turn_quantum_cycles: int = 64
