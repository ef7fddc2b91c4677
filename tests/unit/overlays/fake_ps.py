"""What Vivado computes of a processing system: PLL, divisors, clock, and its buses.

Rules read off public designs. Zynq-7000 with a 50 MHz crystal: with nothing but a clock of 100 MHz
the IO PLL is at 1600 MHz (feedback 32, divisors 4 and 4), with Gigabit Ethernet, which needs
125 MHz, at 1000 MHz (20; 5 and 2). The feedback divisor that a design asks for counts only with
``PCW_OVERRIDE_BASIC_CLOCK``. Zynq UltraScale+ takes the one it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

_LOWEST_MHZ, _HIGHEST_MHZ = 780.0, 1600.0
"""IO PLL of a Zynq-7000 of speed grade 1 (DS187)."""
_DIVISOR_BITS = 6


@dataclass(frozen=True)
class Computed:
    """Properties that the IP computes, and the clock that its pin states."""

    properties: dict[str, str]
    clock_mhz: float


def compute(kind: str, values: dict[str, str]) -> Computed:
    """What the IP makes of its configuration ``values``, which have names with ``CONFIG.``."""
    return (_ps7 if kind == "processing_system7" else _ps8)(
        {name.removeprefix("CONFIG."): value for name, value in values.items()})


def _needs(values: dict[str, str]) -> list[float]:
    """Clocks in MHz that the peripherals that are on need exactly."""
    found = []
    for enable, clock in (("QSPI", "QSPI"), ("SD0", "SDIO"), ("UART0", "UART"), ("UART1", "UART")):
        if values.get(f"PCW_{enable}_PERIPHERAL_ENABLE") == "1":
            found.append(float(values[f"PCW_{clock}_PERIPHERAL_FREQMHZ"]))
    for port in ("ENET0", "ENET1"):
        if values.get(f"PCW_{port}_PERIPHERAL_ENABLE") == "1":
            found.append({"1000 Mbps": 125.0, "100 Mbps": 25.0, "10 Mbps": 2.5}[
                values[f"PCW_{port}_PERIPHERAL_FREQMHZ"]])
    return found


def _divides(pll: float, clock: float) -> bool:
    return abs(pll / clock - round(pll / clock)) < 1e-6


def _divisors(product: int) -> tuple[int, int]:
    """Two divisors, the larger one first, as near to each other as can be."""
    low = next(n for n in range(isqrt(product), 0, -1) if product % n == 0)
    assert product // low < 1 << _DIVISOR_BITS
    return product // low, low


def _ps7(values: dict[str, str]) -> Computed:
    crystal = float(values.get("PCW_CRYSTAL_PERIPHERAL_FREQMHZ", "33.333333"))
    wanted = float(values["PCW_FPGA0_PERIPHERAL_FREQMHZ"])
    if values.get("PCW_OVERRIDE_BASIC_CLOCK") == "1":
        feedback = int(values["PCW_IOPLL_CTRL_FBDIV"])
    else:
        needs = _needs(values)
        choices = [n for n in range(1, 67) if _LOWEST_MHZ <= crystal * n <= _HIGHEST_MHZ + 0.1
                   and all(_divides(crystal * n, clock) for clock in needs)]
        # The best for the programmable logic's clock, of those the fastest.
        feedback = min(choices, key=lambda n: (
            round(abs(crystal * n / round(crystal * n / wanted) - wanted), 6), -n))
    pll = crystal * feedback
    first, second = _divisors(round(pll / wanted))
    return Computed({
        "CONFIG.PCW_IOPLL_CTRL_FBDIV": str(feedback),
        "CONFIG.PCW_FCLK0_PERIPHERAL_DIVISOR0": str(first),
        "CONFIG.PCW_FCLK0_PERIPHERAL_DIVISOR1": str(second),
    }, pll / (first * second))  # fmt: skip


def _ps8(values: dict[str, str]) -> Computed:
    crystal = float(values.get("PSU__PSS_REF_CLK__FREQMHZ", "33.333"))
    feedback = int(values.get("PSU__CRL_APB__IOPLL_CTRL__FBDIV", "90"))
    half = int(values.get("PSU__CRL_APB__IOPLL_CTRL__DIV2", "1"))
    pll = crystal * feedback / (1 + half)
    wanted = float(values["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"])
    divisor = round(pll / wanted)
    return Computed({
        "CONFIG.PSU__CRL_APB__IOPLL_CTRL__FBDIV": str(feedback),
        "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__DIVISOR0": str(divisor),
        "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__DIVISOR1": "1",
    }, pll / divisor)  # fmt: skip


def bus(kind: str, name: str, values: dict[str, str]) -> dict[str, str]:
    """Protocol and widths of a bus of the processing system (UG585, UG1085)."""
    if kind == "processing_system7":
        host = name == "M_AXI_GP0"
        bits = "32" if host else values[f"CONFIG.PCW_{name}_DATA_WIDTH"]
        return {"PROTOCOL": "AXI3", "ADDR_WIDTH": "32", "DATA_WIDTH": bits,
                "ID_WIDTH": "12" if host else "6"}
    if name == "M_AXI_HPM0_FPD":
        return {"PROTOCOL": "AXI4", "ADDR_WIDTH": "40", "ID_WIDTH": "16",
                "DATA_WIDTH": values.get("CONFIG.PSU__MAXIGP0__DATA_WIDTH", "128")}
    port = int(name.removeprefix("S_AXI_HP")[0]) + 2
    return {"PROTOCOL": "AXI4", "ADDR_WIDTH": "49", "ID_WIDTH": "6",
            "DATA_WIDTH": values.get(f"CONFIG.PSU__SAXIGP{port}__DATA_WIDTH", "128")}
