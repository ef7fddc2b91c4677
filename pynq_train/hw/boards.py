"""Boards by name: part, budgets, memory and clocks (sources: vendor data sheets, PYNQ images)."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.errors import DoesNotFit
from pynq_train.hw.config import K26, SMALL, WIDE32, ZYNQ7020, HwConfig
from pynq_train.hw.presets import PYNQ_7020, Preset, zynqmp
from pynq_train.hw.resources import resources


@dataclass(frozen=True)
class Budget:
    """What a design may use of a part: DSPs, 36-kbit RAMs, LUTs and flip-flops."""

    dsp: int
    bram36: int
    lut: int
    ff: int


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes:
        name: name that users type.
        pynq_name: name that the PYNQ image gives to the board; of boards that share it, the first
            one of the table is what an image stands for.
        part: FPGA part.
        family: ``zynq`` (Zynq-7000) or ``zynqmp`` (Zynq UltraScale+).
        arch: machine name of the Linux image.
        config: configuration of the engine in the board's overlay.
        budget: what the engine may use of the part.
        clock_mhz: clock of the engine that is asked for (``design.clock_choices``: those that a
            build may fall back to).
        dram_bytes: memory of the board (of its smallest variant).
        cma_bytes: contiguous memory of the board's Linux image, for all buffers.
        dram_bytes_per_cycle: usable memory bandwidth, reads and writes together.
        core_address: address of the engine's registers.
        preset: how the board's image sets up the processing system.
    """

    name: str
    pynq_name: str
    part: str
    family: str
    arch: str
    config: HwConfig
    budget: Budget
    clock_mhz: float
    dram_bytes: int
    cma_bytes: int
    dram_bytes_per_cycle: int
    core_address: int
    preset: Preset

    def __post_init__(self) -> None:
        """Refuse a configuration that takes more of the part than the budget.

        Raises:
            DoesNotFit: it takes too many DSPs or block memories, by formula.
        """
        taken = resources(self.config)
        for name, found, most in (("DSPs", taken.dsp, self.budget.dsp),
                                  ("block memories of 36 kbit", taken.bram36, self.budget.bram36)):
            if found > most:
                raise DoesNotFit(
                    f"configuration {self.config.name} is too large for {self.name}",
                    expected=f"{most} {name} at most", found=f"{found:g}",
                    fix="take a smaller one; python -m pynq_train.schedule.search lists what fits",
                )  # fmt: skip


_Z7020 = Budget(dsp=220, bram36=134, lut=45_000, ff=53_200)
"""The engine is alone in the part: 85 % of its LUTs, half of its flip-flops."""
_ZU3 = Budget(dsp=288, bram36=172, lut=49_392, ff=70_560)
_MIB, _GIB = 1 << 20, 1 << 30

_ALL = (
    Board("pynq-z1", "Pynq-Z1", "xc7z020clg400-1", "zynq", "armv7l", ZYNQ7020, _Z7020, 100.0,
          512 * _MIB, 128 * _MIB, 16, 0x43C0_0000, PYNQ_7020),
    Board("pynq-z2", "Pynq-Z2", "xc7z020clg400-1", "zynq", "armv7l", ZYNQ7020, _Z7020, 100.0,
          512 * _MIB, 128 * _MIB, 16, 0x43C0_0000, PYNQ_7020),
    # A first bitstream that is sure to meet its timing: half the clock, fewer block memories.
    # The memory does not slow down with the engine.
    Board("pynq-z2-small", "Pynq-Z2", "xc7z020clg400-1", "zynq", "armv7l", SMALL, _Z7020, 50.0,
          512 * _MIB, 128 * _MIB, 32, 0x43C0_0000, PYNQ_7020),
    Board("ultra96", "Ultra96", "xczu3eg-sbva484-1-e", "zynqmp", "aarch64", ZYNQ7020, _ZU3, 100.0,
          2 * _GIB, 256 * _MIB, 39, 0xA000_0000, zynqmp("")),
    # The same die as the Ultra96's. Its memory's speed is not published: the Ultra96's is assumed.
    Board("aup-zu3", "AUP-ZU3", "xczu3eg-sfvc784-2-e", "zynqmp", "aarch64", ZYNQ7020, _ZU3, 100.0,
          4 * _GIB, 256 * _MIB, 39, 0xA000_0000, zynqmp("")),
    Board("kv260", "KV260", "xck26-sfvc784-2lv-c", "zynqmp", "aarch64", K26,
          Budget(dsp=998, bram36=118, lut=81_984, ff=117_120), 100.0,
          4 * _GIB, 256 * _MIB, 64, 0xA000_0000, zynqmp("xilinx.com:kv260_som:part0")),
    Board("zcu104", "ZCU104", "xczu7ev-ffvc1156-2-e", "zynqmp", "aarch64", WIDE32,
          Budget(dsp=1382, bram36=249, lut=161_280, ff=230_400), 100.0,
          2 * _GIB, 256 * _MIB, 64, 0xA000_0000, zynqmp("xilinx.com:zcu104:part0")),
)

BOARDS = {board.name: board for board in _ALL}
"""All boards by name."""
