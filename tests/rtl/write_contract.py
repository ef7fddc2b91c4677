"""The memory contract of signals, watched at the whole engine: done means acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import RisingEdge

from sim.bfm.axi_memory import split_runs


@dataclass(frozen=True)
class _Client:
    """A unit's writes at a shared port."""

    unit: str
    done: Any
    bit: int


class _Port:
    """A shared port: runs in the order of their grants, with their bursts to be answered."""

    def __init__(self, arbiter: Any, answered: Any, clients: tuple[_Client, ...]) -> None:
        self.clients = clients
        self.runs = 0
        self._valid, self._ready = arbiter.run_valid_i, arbiter.run_ready_o
        self._off, self._len = arbiter.run_off_i, arbiter.run_len_i
        self._answered = answered
        self._open: deque[list[int]] = deque()

    def step(self) -> None:
        """One cycle."""
        for number, client in enumerate(self.clients):
            if int(client.done.value) >> client.bit & 1:
                left = sum(who == number for who, _ in self._open)
                assert not left, f"{client.unit} is done, {left} of its runs are not acknowledged"
        if int(self._answered.value):
            self._open[0][1] -= 1
            if not self._open[0][1]:
                self._open.popleft()
        taken = int(self._valid.value) & int(self._ready.value)
        if taken:
            number = taken.bit_length() - 1
            off = int(self._off.value) >> 32 * number & 0xFFFF_FFFF
            words = int(self._len.value) >> 16 * number & 0xFFFF
            self._open.append([number, len(split_runs([(off, words, True)]))])
            self.runs += 1


async def watch(dut: Any) -> None:
    """Check each completion of a unit against the answers that its writes have got, for ever.

    For whole runs only: what a halt or an error leaves is swallowed. Ports 1, 2 and 3 are watched.

    Raises:
        AssertionError: a unit is done before all its writes are acknowledged.
    """
    core = dut.u_top.u_core
    conv, element = core.u_conv, core.u_elementwise

    # Bits of the units X, S, array and store; of update, softmax and vector unit.
    ports = (
        _Port(conv.u_port1_wr, dut.m_axi1_bvalid,
              (_Client("store", conv.unit_done_o, 4), _Client("S loader", conv.unit_done_o, 2))),
        _Port(element.u_port2_wr, dut.m_axi2_bvalid,
              (_Client("softmax", element.unit_done_o, 1),
               _Client("update", element.unit_done_o, 0))),
        _Port(element.u_port3_wr, dut.m_axi3_bvalid,
              (_Client("update", element.unit_done_o, 0),
               _Client("vector", element.unit_done_o, 2))),
    )
    while True:
        await RisingEdge(dut.aclk)
        for port in ports:
            port.step()
