"""A ``pynq`` device whose programmable logic is the compiled RTL.

Importing this module before ``pynq`` looks for devices makes ``PYNQ_TRAIN_VIRTUAL=pynq-z2`` select
a virtual board, so that an unchanged notebook runs on it.
"""

from __future__ import annotations

import os
import struct
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pynq
from pynq.pl_server.device import Device
from pynqmetadata.frontends import Metadata

from pynq_train.backends.buffer import PynqBuffer
from pynq_train.backends.vboard import build, ps
from pynq_train.backends.vboard.memory import ContiguousMemory
from pynq_train.backends.vboard.model import VerilatedModel
from pynq_train.errors import UnknownName
from pynq_train.hw import registers
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.hw.design import VLNV
from pynq_train.hw.memory_timing import MemoryTiming
from pynq_train.overlays import VIRTUAL_VARIABLE

try:  # pynqmetadata 0.1.9 and newer
    from pynqmetadata.views.runtime import RuntimeMetadataParser
except ImportError:
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser

PYNQ_VERSION = tuple(int(part) for part in pynq.__version__.split(".")[:2])

_MEMORY_BASE = {"zynq": 0x1000_0000, "zynqmp": 0x6000_0000, "kv260": 0x8_0000_0000}
"""Address of the contiguous memory, as on the boards; a board's own, or its family's."""
_STATUS = registers.BY_NAME["STATUS"]
_BIT = {name: mask for name, mask in registers.masks("STATUS").items()
        if name in ("BUSY", "DONE", "HALTED", "FAILED")}


class EngineModel(Protocol):
    """What a device needs of the model of the engine (``VerilatedModel`` has it)."""

    @property
    def cycles(self) -> int: ...

    def read32(self, offset: int) -> int: ...

    def write32(self, offset: int, value: int) -> None: ...

    def run(self, cycles: int, watch: int = 0, mask: int = 0, interval: int = 256) -> None: ...

    def close(self) -> None: ...


class SimulatedTime:
    """Time of the simulated clock; replaces the host's in time-outs.

    ``sleep`` does nothing: simulated time passes when STATUS is read.
    """

    def __init__(self, device: VirtualDevice) -> None:
        self._device = device

    def now(self) -> float:
        """Return the seconds since power-up, at the board's clock."""
        model = self._device.model
        return model.cycles / (self._device.board.clock_mhz * 1e6) if model else 0.0

    def sleep(self, seconds: float) -> None:
        """Return at once."""


class VirtualDevice(Device):
    """A board in software.

    Args:
        board: the board.
        model_factory: makes the engine's model when an overlay is downloaded
            (default: the Verilated RTL).
        timing: timing of the memory (default: the board's bandwidth).
        seed: seed of register and memory contents and of random stalls.
        strict_cache: keep separate copies of cacheable buffers, so that a missing flush or
            invalidate shows as it would on the board.
        poll_cycles: cycles that pass at most when STATUS is read while the engine is busy.

    Attributes:
        model: the engine; None before the first download.
        dram: contiguous memory.
        time: the simulated clock.
        lock_file: what a driver locks while it uses this device: nobody else has it.
    """

    _probe_priority_ = 10  # before the embedded, remote and XRT devices of pynq

    @classmethod
    def _probe_(cls) -> list[VirtualDevice]:
        """Return the virtual board of ``PYNQ_TRAIN_VIRTUAL``, if set; ``pynq`` asks each class."""
        name = os.environ.get(VIRTUAL_VARIABLE)
        if not name:
            return []
        if name not in BOARDS:
            raise UnknownName.among("board", name, BOARDS)
        return [cls(BOARDS[name])]

    def __init__(
        self,
        board: Board,
        model_factory: Callable[[VirtualDevice], EngineModel] | None = None,
        *,
        timing: MemoryTiming | None = None,
        seed: int = 1,
        strict_cache: bool = True,
        poll_cycles: int = 50_000,
    ) -> None:
        super().__init__(f"virtual-{board.name}")
        self.board = board
        self.name = board.pynq_name
        self.arch = board.arch
        self.capabilities = {"REGISTER_RW": True, "MEMORY_MAPPED": False}
        self.ranged_sync = True
        self.seed = seed
        self.timing = timing or replace(MemoryTiming(), bytes_per_cycle=board.dram_bytes_per_cycle)
        base = _MEMORY_BASE.get(board.name, _MEMORY_BASE[board.family])
        self.dram = ContiguousMemory(base, board.cma_bytes)
        self.time = SimulatedTime(self)
        self.model: EngineModel | None = None
        self.lock_file = Path(tempfile.gettempdir(),
                              f"pynq_train-virtual-{os.getpid()}-{id(self):x}.lock")
        self._factory: Callable[[VirtualDevice], EngineModel] = model_factory or verilated_model
        self._poll_cycles = poll_cycles
        self._strict_cache = strict_cache
        self._host_copies: dict[int, np.ndarray] = {}
        self._rng = np.random.RandomState(seed & 0xFFFF_FFFF)
        self._ps = ps.PsRegisters(board.family, board.preset.pll_mhz)
        self._core_range = range(0)
        # Read by pynq before the first download.
        self.bitfile_name = self.timestamp = None
        self.devicetree_dict: dict[str, object] = {}
        self.clear_dict()

    # Overlays

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """Parse the .hwh beside a bit file, as ``pynq`` asks for it.

        Raises:
            RuntimeError: there is none.
        """
        hwh = Path(bitfile_name).with_suffix(".hwh")
        if not hwh.exists():
            raise RuntimeError(f"no hardware description {hwh} beside the bit file")
        parser = RuntimeMetadataParser(Metadata(input=str(hwh)))
        parser.bin_data = parser.xclbin_data = parser.dtbo_data = None
        parser.mem_dict["PSDDR"] = {  # XRT adds it on a board
            "raw_type": 2, "used": 1, "base_address": 0, "size": self.dram.nbytes,
            "type": "DDR4", "streaming": False, "idx": 0, "tag": "PSDDR",
        }  # fmt: skip
        parser.refresh_hierarchy_dict()
        if PYNQ_VERSION < (3, 1):
            parser.clock_dict = {}  # clocks of pynq 3.0 look at the host's processor
        elif PYNQ_VERSION >= (4, 0):  # which wants a frequency, absent for the Zynq-7000
            for clock in parser.clock_dict.values():
                if clock.get("frequency") is None:
                    divisor = clock["divisor0"] * clock["divisor1"]
                    clock["frequency"] = self.board.preset.pll_mhz / divisor
        return parser

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Power the engine up: registers and on-chip memories hold random values."""
        self.close()
        for description in (parser.ip_dict if parser else {}).values():
            if "phys_addr" not in description:
                continue
            start = description["phys_addr"]
            span = range(start, start + description["addr_range"])
            if description["type"] == VLNV:
                self._core_range = span
                self.model = self._factory(self)
        self.post_download(bitstream, parser, self.name)

    def gen_cache(self, bitstream: Any, parser: Any = None) -> None:
        """Do nothing: there is nothing to prepare."""

    def insert_device_tree(self, abs_dtbo: str) -> None:
        """Do nothing: there is no kernel to tell."""

    def remove_device_tree(self, abs_dtbo: str) -> None:
        """Do nothing: there is no kernel to tell."""

    def close(self) -> None:
        """End the model of the engine."""
        if self.model is not None:
            self.model.close()
        self.model = None
        self._core_range = range(0)

    # Registers

    def read_registers(self, address: int, length: int) -> bytes:
        """Read ``length`` bytes of registers from ``address`` on.

        A STATUS read advances a busy engine: simulated time passes nowhere else.
        """
        words = (self._read32(at) & 0xFFFF_FFFF for at in range(address, address + length, 4))
        return struct.pack(f"<{length // 4}I", *words)

    def write_registers(self, address: int, data: bytes) -> None:
        """Write whole words to registers from ``address`` on."""
        for index, (word,) in enumerate(struct.iter_unpack("<I", bytes(data))):
            self._write32(address + 4 * index, word)

    def _read32(self, address: int) -> int:
        """Read one register of engine or processing system."""
        if address in self._core_range and self.model is not None:
            offset = address - self._core_range.start
            value = self.model.read32(offset)
            # A halted engine waits for RESUME: cycles would only cost time.
            if offset == _STATUS.offset and value & _BIT["BUSY"] and not value & _BIT["HALTED"]:
                self._advance(self._poll_cycles)
                value = self.model.read32(offset)
            return value
        return self._ps_page(address).read32(address)

    def _write32(self, address: int, value: int) -> None:
        """Write one register of engine or processing system."""
        if address in self._core_range and self.model is not None:
            self.model.write32(address - self._core_range.start, value)
        else:
            self._ps_page(address).write32(address, value)

    def _ps_page(self, address: int) -> ps.PsRegisters:
        """Return the processing system's registers; RuntimeError where nothing is mapped."""
        if not any(page <= address < page + 0x1000 for page in ps.PAGES[self.board.family]):
            raise RuntimeError(
                f"bus error: nothing is mapped at 0x{address:08x} (a real board would hang)"
            )
        return self._ps

    def _advance(self, cycles: int) -> None:
        """Run the engine for at most ``cycles`` cycles, until its status changes."""
        assert self.model is not None
        self.model.run(cycles, _STATUS.offset, sum(_BIT.values()))

    # Memory

    def allocate(self, shape: Any, dtype: Any, cacheable: int = 0, **kwargs: object) -> PynqBuffer:
        """Allocate contiguous memory; it holds random bytes, as memory does after power-up.

        Args:
            shape: shape of the buffer.
            dtype: its type.
            cacheable: the processor sees it through its cache: with ``strict_cache`` as a separate
                copy.
            kwargs: ignored.
        """
        dtype = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = self.dram.allocate(nbytes)
        device_bytes = self.dram.view(address, nbytes)
        device_bytes[:] = np.frombuffer(self._rng.bytes(nbytes), np.uint8)
        host_bytes = device_bytes
        if cacheable and self._strict_cache:
            host_bytes = self._host_copies[address] = device_bytes.copy()
        buffer = PynqBuffer(
            shape, dtype, buffer=host_bytes, device=self, device_address=address, bo=address,
            coherent=False,
        )  # fmt: skip
        # With these three, freebuffer(), del and "with" call return_pointer.
        buffer.memory = buffer.return_to = self
        buffer.pointer = _Lease(address, buffer)
        return buffer

    def return_pointer(self, lease: _Lease) -> None:
        """Take a buffer's memory back."""
        self.dram.release(lease.address)
        self._host_copies.pop(lease.address, None)
        buffer = lease.buffer()
        if buffer is not None:
            buffer.freed = True  # otherwise a second freebuffer() unmaps memory of NumPy

    def flush(self, bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        """Copy a span from the processor's to the device's view of a buffer."""
        copy = self._host_copies.get(bo)
        if copy is not None:
            self.dram.view(bo + offset, nbytes)[:] = copy[offset : offset + nbytes]

    def invalidate(self, bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        """Copy a span from the device's to the processor's view of a buffer."""
        copy = self._host_copies.get(bo)
        if copy is not None:
            copy[offset : offset + nbytes] = self.dram.view(bo + offset, nbytes)

    @property
    def default_memory(self) -> VirtualDevice:
        """The device itself, which is its only memory."""
        return self

    def get_memory(self, description: object) -> VirtualDevice:
        """Return the device itself, which is its only memory."""
        return self


class _Lease:
    """The ``pointer`` of a buffer: address of its allocation, and its object."""

    def __init__(self, address: int, buffer: PynqBuffer) -> None:
        self.address = address
        # Weak: the buffer holds its lease, and must not be kept alive by it.
        self.buffer = weakref.ref(buffer)


def verilated_model(device: VirtualDevice, source: build.ModelSource | None = None
                    ) -> VerilatedModel:
    """Build (or take from the cache) and start the model of the engine for ``device``."""
    library = build.build(source or build.default_source(config=device.board.config))
    return VerilatedModel(library, device.dram.memory, device.dram.base, device.timing, device.seed)
