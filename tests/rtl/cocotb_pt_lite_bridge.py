"""Cocotb bench of pt_lite_bridge: a processor on one side, registers on the other, random stalls.

Registers take address and data of a write in any order and answer with an error at ``BAD``. With
``PT_LATE_ADDRESS`` they answer reads with the word before the asked one: the bench must fail then.
"""

from __future__ import annotations

import os
import random
from collections import deque

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

RNG = random.Random(int(os.environ.get("PT_SEED", "1")))
BAD = 0xF00
_INPUTS = ("s_awid", "s_awaddr", "s_awvalid", "s_wdata", "s_wstrb", "s_wlast", "s_wvalid",
           "s_bready", "s_arid", "s_araddr", "s_arlen", "s_arvalid", "s_rready", "m_awready",
           "m_wready", "m_bresp", "m_bvalid", "m_arready", "m_rdata", "m_rresp", "m_rvalid")


async def start(dut) -> dict[int, int]:
    """Reset the bridge and put registers behind it; returns their words by address."""
    for name in _INPUTS:
        getattr(dut, f"{name}_i").value = 0
    dut.rst_ni.value = 0
    cocotb.start_soon(Clock(dut.clk_i, 10, "ns").start())
    for _ in range(3):
        await RisingEdge(dut.clk_i)
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1
    words: dict[int, int] = {}
    cocotb.start_soon(_write_side(dut, words))
    cocotb.start_soon(_read_side(dut, words))
    return words


async def _write_side(dut, words: dict[int, int]) -> None:
    addresses: deque[int] = deque()
    data: deque[tuple[int, int]] = deque()
    while True:
        ready = {"aw": RNG.random() < 0.5, "w": RNG.random() < 0.5}
        dut.m_awready_i.value, dut.m_wready_i.value = int(ready["aw"]), int(ready["w"])
        await RisingEdge(dut.clk_i)
        if ready["aw"] and dut.m_awvalid_o.value == 1:
            addresses.append(int(dut.m_awaddr_o.value))
        if ready["w"] and dut.m_wvalid_o.value == 1:
            data.append((int(dut.m_wdata_o.value), int(dut.m_wstrb_o.value)))
        await FallingEdge(dut.clk_i)
        assert len(addresses) <= 1 and len(data) <= 1, "two accesses at a time"
        if addresses and data:
            address, (word, strobe) = addresses.popleft(), data.popleft()
            mask = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
            words[address] = words.get(address, 0) & ~mask | word & mask
            dut.m_awready_i.value = dut.m_wready_i.value = 0
            await _offer(dut, "m_b", {"m_bresp_i": 2 if address == BAD else 0}, "m_bready_o")


async def _read_side(dut, words: dict[int, int]) -> None:
    late = 4 if os.environ.get("PT_LATE_ADDRESS") else 0
    while True:
        address = await _take(dut, "m_arvalid_o", "m_arready_i", "m_araddr_o")
        values = {"m_rdata_i": words.get(address - late, 0), "m_rresp_i": 2 * (address == BAD)}
        await _offer(dut, "m_r", values, "m_rready_o")


async def _offer(dut, prefix: str, values: dict[str, int], ready: str) -> None:
    """Send one transfer; its payload stays while the other side waits."""
    while RNG.random() < 0.4:
        await FallingEdge(dut.clk_i)
    for name, value in values.items():
        getattr(dut, name).value = value
    valid = getattr(dut, f"{prefix}valid_i")
    valid.value = 1
    while True:
        await RisingEdge(dut.clk_i)
        taken = getattr(dut, ready).value == 1
        await FallingEdge(dut.clk_i)
        if taken:
            break
    valid.value = 0


async def _take(dut, valid: str, ready: str, *names: str) -> int:
    """Receive one transfer; returns its payload, the fields of ``names`` from the lowest bit up."""
    while True:
        go = RNG.random() < 0.6
        getattr(dut, ready).value = int(go)
        await RisingEdge(dut.clk_i)
        values = [getattr(dut, name).value for name in names]
        got = go and getattr(dut, valid).value == 1
        await FallingEdge(dut.clk_i)
        if got:
            getattr(dut, ready).value = 0
            word = 0
            for value in reversed(values):
                word = word << len(value) | int(value)
            return word


@cocotb.test()
async def writes(dut) -> None:
    """Single words and bursts, byte strobes, errors of one beat, identifiers."""
    words, expected = await start(dut), {}
    for _ in range(60):
        beats, identifier = RNG.choice((1, 1, 2, 4)), RNG.randrange(1 << 12)
        address = BAD if RNG.random() < 0.1 else 4 * RNG.randrange(64)
        await _offer(dut, "s_aw", {"s_awid_i": identifier, "s_awaddr_i": address}, "s_awready_o")
        for beat in range(beats):
            word, strobe = RNG.getrandbits(32), RNG.choice((15, 15, 3, 8))
            mask = sum(0xFF << 8 * i for i in range(4) if strobe >> i & 1)
            at = address + 4 * beat
            expected[at] = expected.get(at, 0) & ~mask | word & mask
            await _offer(dut, "s_w", {"s_wdata_i": word, "s_wstrb_i": strobe,
                                      "s_wlast_i": int(beat == beats - 1)}, "s_wready_o")
        got = await _take(dut, "s_bvalid_o", "s_bready_i", "s_bid_o", "s_bresp_o")
        assert got == identifier | (2 * (address == BAD)) << 12
        assert words == expected


@cocotb.test()
async def reads(dut) -> None:
    """Single words and bursts while stalls come and go; the last beat is marked."""
    words = await start(dut)
    words.update({4 * i: RNG.getrandbits(32) for i in range(80)})
    for _ in range(60):
        beats, identifier = RNG.choice((1, 1, 2, 4)), RNG.randrange(1 << 12)
        address = BAD if RNG.random() < 0.1 else 4 * RNG.randrange(64)
        await _offer(dut, "s_ar", {"s_arid_i": identifier, "s_araddr_i": address,
                                   "s_arlen_i": beats - 1}, "s_arready_o")
        for beat in range(beats):
            at = address + 4 * beat
            got = await _take(dut, "s_rvalid_o", "s_rready_i", "s_rdata_o", "s_rid_o", "s_rlast_o",
                              "s_rresp_o")
            want = words.get(at, 0) | identifier << 32 | int(beat == beats - 1) << 44
            assert got == want | (2 * (at == BAD)) << 45, f"beat {beat} of {beats} at {at:#x}"
