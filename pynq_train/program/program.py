"""A program: descriptors and taps as bytes, and the map of the memory that they work on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from pynq_train.errors import BadInput, IllegalProgram, UnknownName
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    Opcode,
    unpack_descriptor,
    unpack_tap,
)
from pynq_train.hw.config import CONFIGS, HwConfig
from pynq_train.hw.contract import contract_hash
from pynq_train.hw.words import WORD_BYTES

Fields = dict[str, int]
"""Unpacked fields of a descriptor, or of a tap, by name."""


@dataclass(frozen=True)
class Region:
    """A named span of the arena.

    Attributes:
        symbol: name of the tensor that stands there.
        offset: first byte, from the start of the arena.
        nbytes: bytes.
        kind: what it holds.
    """

    symbol: str
    offset: int
    nbytes: int
    kind: str

    @property
    def end(self) -> int:
        """Byte offset behind the region."""
        return self.offset + self.nbytes


@dataclass(frozen=True)
class Program:
    """One program, ready to be written into an arena and run.

    Attributes:
        name: name for messages.
        config: name of the hardware configuration it was made for.
        contract: contract hash of that configuration, 64 hexadecimal digits.
        descriptors: descriptors, at byte offset ``program_off`` of the arena.
        taps: tap tables, at ``taps_off``.
        regions: memory map of the arena, sorted by offset.
        arena_bytes: size of the arena.
        step_off: byte offset of the step block.
    """

    name: str
    config: str
    contract: str
    descriptors: bytes
    taps: bytes
    regions: tuple[Region, ...]
    arena_bytes: int
    program_off: int
    taps_off: int
    step_off: int

    @classmethod
    def make(cls, name: str, descriptors: bytes, taps: bytes, regions: Iterable[Region],
             arena_bytes: int, config: HwConfig, *, step_symbol: str = "step_block") -> Program:
        """Build a program; its parts stand at ``<name>.program``, ``<name>.taps``, ``step_symbol``.

        Args:
            name: name for messages, and of its regions.
            descriptors: packed descriptors, one behind the other.
            taps: packed tap tables.
            regions: spans of the arena in any order.
            arena_bytes: size of the arena.
            config: hardware configuration that it was made for.
            step_symbol: region of the step block.

        Raises:
            UnknownName: one of those symbols is missing.
            BadInput: the descriptors are not whole.
        """
        if not descriptors or len(descriptors) % DESCRIPTOR_BYTES:
            raise BadInput(f"program {name!r}: bytes of descriptors",
                           expected=f"a multiple of {DESCRIPTOR_BYTES}", found=len(descriptors))
        spans = sorted(regions, key=lambda r: (r.offset, r.nbytes))
        offsets = {r.symbol: r.offset for r in spans}
        places = []
        for symbol in (f"{name}.program", f"{name}.taps", step_symbol):
            if symbol not in offsets:
                raise UnknownName.among("symbol", symbol, offsets)
            places.append(offsets[symbol])
        return cls(name, config.name, contract_hash(config), bytes(descriptors), bytes(taps),
                   tuple(spans), arena_bytes, *places)

    @property
    def count(self) -> int:
        """Number of descriptors."""
        return len(self.descriptors) // DESCRIPTOR_BYTES

    @property
    def hw_config(self) -> HwConfig:
        """The hardware configuration that it was made for.

        Raises:
            UnknownName: this package does not know it.
        """
        if self.config not in CONFIGS:
            raise UnknownName.among("hardware configuration", self.config, CONFIGS)
        return CONFIGS[self.config]

    def image(self) -> tuple[tuple[int, bytes], ...]:
        """Return what must be in the arena before a run: pairs of byte offset and bytes."""
        return (self.program_off, self.descriptors), (self.taps_off, self.taps)

    @cached_property
    def fields(self) -> tuple[Fields, ...]:
        """Unpacked fields of all descriptors, in order.

        Raises:
            IllegalProgram: an opcode that does not exist.
        """
        result = []
        for index in range(self.count):
            data = self.descriptors[index * DESCRIPTOR_BYTES : (index + 1) * DESCRIPTOR_BYTES]
            if data[0] not in list(Opcode):
                raise IllegalProgram(f"descriptor {index}: opcode",
                                     expected=f"0..{max(Opcode)}", found=data[0])
            result.append(unpack_descriptor(data))
        return tuple(result)

    def tap_table(self, index: int) -> tuple[Fields, ...]:
        """Return the unpacked taps of descriptor ``index``.

        Raises:
            IllegalProgram: its table does not lie inside ``taps``.
        """
        fields = self.fields[index]
        start = fields["pre.taps_off"] - self.taps_off
        count = fields["pre.n_taps"]
        if count == 0:
            return ()
        end = start + count * WORD_BYTES
        if start < 0 or end > len(self.taps) or start % WORD_BYTES:
            raise IllegalProgram(
                f"descriptor {index}: tap table",
                expected=f"bytes {self.taps_off}..{self.taps_off + len(self.taps)} of the arena",
                found=f"{count} taps at {fields['pre.taps_off']}")
        return tuple(unpack_tap(self.taps[at : at + WORD_BYTES])
                     for at in range(start, end, WORD_BYTES))

    @cached_property
    def _starts(self) -> list[int]:
        return [region.offset for region in self.regions]

    def region_at(self, offset: int) -> Region | None:
        """Return the region that holds a byte of the arena, None between regions."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self.regions[index].end:
            return self.regions[index]
        return None

    def locate(self, offset: int) -> str:
        """Return a byte of the arena as text: symbol and distance from its start."""
        region = self.region_at(offset)
        if region is None:
            return f"offset {offset:#x} (no tensor)"
        return f"{region.symbol}+{offset - region.offset:#x}"
