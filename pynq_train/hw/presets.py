"""Processing systems as the boards' images set them up: crystal, PLL, memory, peripherals and pins.

A bitstream does not set memory or pins, the boot loader does. They are here because the vendor's
tool computes its PLLs and clock divisors from all peripherals together: without them it takes
another PLL than the boot loader, and ``pynq``, which writes the divisors of the .hwh into the clock
registers, sets another clock than the one that was asked for. ``overlays/flow.tcl`` compares what
the tool computed with what stands here, before anything is built.

Sources: the hardware projects of the boards' PYNQ images (PYNQ, Ultra96-PYNQ, Kria-PYNQ, AUP-ZU3)
and the boards' schematics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    """How the boot loader of a board's image sets up the processing system.

    Attributes:
        crystal_mhz: crystal of the processing system.
        pll_multiplier: feedback divisor of the IO PLL.
        pll_divisor: what divides its output (Zynq UltraScale+: 2; Zynq-7000: 1).
        properties: names, without ``CONFIG.``, and values of properties of the processing system's
            IP.
        board_part: name of the vendor's board file, without its version; where Vivado has it, its
            preset is applied before ``properties``. Empty: there is none.
    """

    crystal_mhz: float
    pll_multiplier: int
    pll_divisor: int = 1
    properties: tuple[tuple[str, object], ...] = field(default=(), repr=False)
    board_part: str = ""

    @property
    def pll_mhz(self) -> float:
        """The IO PLL in MHz; clocks of the programmable logic are this over an integer."""
        return self.crystal_mhz * self.pll_multiplier / self.pll_divisor


def on_pins(name: str, pins: Mapping[str, str]) -> dict[str, object]:
    """Return the properties that switch a peripheral of the Zynq-7000 on, and its groups of pins.

    ``pins``: ``MIO`` pins by group; the group with the name of the peripheral is its own.
    """
    found: dict[str, object] = {f"PCW_{name}_PERIPHERAL_ENABLE": 1}
    for group, where in pins.items():
        if group == name:
            found[f"PCW_{name}_{name}_IO"] = f"MIO {where}"
        else:
            found[f"PCW_{name}_{group}_ENABLE"] = 1
            found[f"PCW_{name}_{group}_IO"] = f"MIO {where}"
    return found


_PYNQ_7020_MEMORY = {
    "ENABLE": 1, "MEMORY_TYPE": "DDR 3", "PARTNO": "MT41J256M16 RE-125", "BUS_WIDTH": "16 Bit",
    "FREQ_MHZ": 525, "DRAM_WIDTH": "16 Bits", "DEVICE_CAPACITY": "4096 MBits",
    "SPEED_BIN": "DDR3_1066F", "ROW_ADDR_COUNT": 15, "COL_ADDR_COUNT": 10, "BANK_ADDR_COUNT": 3,
    "CL": 7, "CWL": 6, "T_RCD": 7, "T_RP": 7, "T_RC": 48.91, "T_RAS_MIN": 35.0, "T_FAW": 40.0,
    "TRAIN_DATA_EYE": 1, "TRAIN_READ_GATE": 1, "TRAIN_WRITE_LEVEL": 1, "USE_INTERNAL_VREF": 0,
    "BOARD_DELAY0": 0.223, "BOARD_DELAY1": 0.212, "BOARD_DELAY2": 0.085, "BOARD_DELAY3": 0.092,
    "DQS_TO_CLK_DELAY_0": 0.040, "DQS_TO_CLK_DELAY_1": 0.058,
    "DQS_TO_CLK_DELAY_2": -0.009, "DQS_TO_CLK_DELAY_3": -0.033,
    "CLOCK_0_LENGTH_MM": 25.8, "CLOCK_1_LENGTH_MM": 25.8,
    "DQS_0_LENGTH_MM": 15.6, "DQS_1_LENGTH_MM": 18.8, "DQ_0_LENGTH_MM": 16.5, "DQ_1_LENGTH_MM": 18,
}  # fmt: skip
"""The DDR3 of PYNQ-Z1 and -Z2: one chip of 16 bits at 525 MHz."""


def _pynq_7020() -> dict[str, object]:
    """Return the properties of PYNQ-Z1 and -Z2: both images set the Zynq up alike."""
    # 2..6 are the boot mode's pins and 7, 8 select the voltages: resistors on the board pull them.
    undriven = range(2, 9)
    return {
        "PCW_CRYSTAL_PERIPHERAL_FREQMHZ": 50, "PCW_APU_PERIPHERAL_FREQMHZ": 650,
        "PCW_APU_CLK_RATIO_ENABLE": "6:2:1",
        "PCW_PRESET_BANK0_VOLTAGE": "LVCMOS 3.3V", "PCW_PRESET_BANK1_VOLTAGE": "LVCMOS 1.8V",
        **{f"PCW_UIPARAM_DDR_{name}": value for name, value in _PYNQ_7020_MEMORY.items()},
        **on_pins("QSPI", {"QSPI": "1 .. 6", "GRP_SINGLE_SS": "1 .. 6", "GRP_FBCLK": "8"}),
        "PCW_QSPI_PERIPHERAL_FREQMHZ": 200,
        **on_pins("ENET0", {"ENET0": "16 .. 27", "GRP_MDIO": "52 .. 53", "RESET": "9"}),
        "PCW_ENET0_PERIPHERAL_CLKSRC": "IO PLL", "PCW_ENET0_PERIPHERAL_FREQMHZ": "1000 Mbps",
        **on_pins("SD0", {"SD0": "40 .. 45", "GRP_CD": "47"}),
        "PCW_SDIO_PERIPHERAL_CLKSRC": "IO PLL", "PCW_SDIO_PERIPHERAL_FREQMHZ": 50,
        **on_pins("UART0", {"UART0": "14 .. 15"}),
        "PCW_UART_PERIPHERAL_CLKSRC": "IO PLL", "PCW_UART_PERIPHERAL_FREQMHZ": 100,
        **on_pins("USB0", {"USB0": "28 .. 39", "RESET": "46"}),
        "PCW_GPIO_MIO_GPIO_ENABLE": 1, "PCW_GPIO_MIO_GPIO_IO": "MIO",
        "PCW_PCAP_PERIPHERAL_FREQMHZ": 200,
        **{f"PCW_MIO_{pin}_PULLUP": "disabled" if pin in undriven else "enabled"
           for pin in range(54)},
        **{f"PCW_MIO_{pin}_IOTYPE": f"LVCMOS {'3.3V' if pin < 16 else '1.8V'}"
           for pin in range(54)},
        **{f"PCW_MIO_{pin}_SLEW": "slow" for pin in range(54)},
    }  # fmt: skip


PYNQ_7020 = Preset(50.0, 20, properties=tuple(_pynq_7020().items()))
"""PYNQ-Z1 and -Z2: 50 MHz, IO PLL at 1000 MHz (Gigabit Ethernet asks for 125 MHz of it)."""


def zynqmp(board_part: str) -> Preset:
    """Return the preset of a Zynq UltraScale+ board: 33.333 MHz, IO PLL at 1500 MHz.

    Args:
        board_part: name of its board file, without the version.
    """
    properties: dict[str, object] = {
        "PSU__PSS_REF_CLK__FREQMHZ": 33.333, "PSU__CRL_APB__IOPLL_CTRL__FBDIV": 90,
        "PSU__CRL_APB__IOPLL_CTRL__DIV2": 1, "PSU__CRL_APB__IOPLL_CTRL__SRCSEL": "PSS_REF_CLK",
    }
    return Preset(33.333, 90, 2, tuple(properties.items()), board_part)
