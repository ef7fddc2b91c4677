"""The example of tests/README.md: a bench of one module in one file, with waveforms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb
import pytest
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles

from sim.bfm.env import run_bench


@cocotb.test()
async def a_word_comes_out(dut: Any) -> None:
    cocotb.start_soon(Clock(dut.clk_i, 10, "ns").start())
    dut.rst_ni.value, dut.valid_i.value, dut.ready_i.value = 0, 0, 0
    await ClockCycles(dut.clk_i, 2)
    dut.rst_ni.value, dut.valid_i.value, dut.data_i.value = 1, 1, 0x5A
    await ClockCycles(dut.clk_i, 2)
    assert (dut.valid_o.value, dut.data_o.value) == (1, 0x5A)


@pytest.mark.rtl
def test_a_word_comes_out() -> None:
    run_bench("pt_fifo", "test_example_bench", ["rtl/common/pt_fifo.sv"], {"Width": 8})
# Up to here it is printed in tests/README.md.


@pytest.mark.rtl
def test_waves_of_the_example_are_recorded() -> None:
    """What PT_WAVES=1 switches on: a file with the signals inside the module too."""
    waves = run_bench("pt_fifo", "test_example_bench", ["rtl/common/pt_fifo.sv"], {"Width": 8},
                      waves=True)
    assert waves is not None
    text = waves.read_text(encoding="ascii")
    assert "count_q" in text and "b01011010" in text  # 0x5A


def test_the_readme_prints_the_example() -> None:
    """tests/README.md shows the lines that are tested here."""
    source = Path(__file__).read_text(encoding="utf-8")
    example = source[source.index("@cocotb.test()"):source.index("# Up to here")]
    readme = Path(__file__).parents[1] / "README.md"
    assert example.strip() in readme.read_text(encoding="utf-8"), "print it in tests/README.md"
