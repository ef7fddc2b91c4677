"""Functional coverage: which shapes and options the compared descriptors had.

A cross is a combination of options, each combination of their values a bin. A bin that no
descriptor falls into was never compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    LoadMode,
    Opcode,
    Pass,
    unpack_descriptor,
)
from pynq_train.hw.limits import MAX_KERNEL, MAX_STRIDE
from pynq_train.program.activations import GEOMETRY

Bin = tuple[str, ...]
"""One value of each axis of a cross."""
_PADDINGS = ("none", "below half", "half", "above half")
_IMAGES = ("1", "2 or 3", "4 or more")
_ON_OFF = ("0", "1")
_MODES = tuple(mode.name.lower() for mode in LoadMode)
_SLICES = ("whole", "first", "between", "last")
_MASTERS = ("momentum", "plain")
_GROUPS = ("none", "1", "2", "4", "8", "16")
_CONVOLUTIONS = (Opcode.CONV, Opcode.GRADIENT)
_ACTIVATIONS = {name.removeprefix("g.g_"): name for name in GEOMETRY.values()}
"""Fields of section g that make an activation, by their short names."""


def _digits(count: int, first: int = 0) -> tuple[str, ...]:
    """Return the numbers ``first .. first + count - 1`` as text."""
    return tuple(str(first + i) for i in range(count))


def _crosses(kind: Pass) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return the crosses that are counted in a pass, and the values of each of their axes."""
    crosses: dict[str, tuple[tuple[str, ...], ...]] = {
        "kernel x stride": (_digits(MAX_KERNEL, 1), _digits(MAX_STRIDE, 1)),
        "padding x stride": (_PADDINGS, _digits(MAX_STRIDE, 1)),
        "out channels mod 16": (_digits(16),),
        "in channels mod 16": (_digits(16),),
        "out mod 4 x in mod 4": (_digits(4), _digits(4)),
        "tile pixels mod 3 x mod 4": (_digits(3), _digits(4)),
        "images per tile": (_IMAGES,),
        "channels of a group": (_GROUPS,),
    }
    if kind == Pass.FORWARD:
        for name in _ACTIVATIONS:
            crosses[f"{name} x pool x bias"] = (_ON_OFF, _ON_OFF, _ON_OFF)
            crosses[f"{name} x pool x groups"] = (_ON_OFF, _ON_OFF, _ON_OFF)
    else:
        crosses["gradient operand"] = (_MODES,)
    if kind == Pass.WEIGHT_GRADIENT:
        crosses["gradient operand x bias"] = (_MODES, _ON_OFF)
        crosses["slice x masters"] = (_SLICES, _MASTERS)
    if kind == Pass.BACKWARD:
        crosses["stride.phase"] = (tuple(
            f"{s}.{f}" for s in range(1, MAX_STRIDE + 1) for f in range(s)),)
    return crosses


def _values(d: Mapping[str, int], part: str) -> dict[str, Bin]:
    """Return the bins of one convolution descriptor, by cross.

    ``d``: its fields; ``part``: which slice of its layer it is.
    """
    kernel, stride = d["g.g_kernel"], d["g.g_stride"]
    pixels = d["pix.p0"] * d["pix.p1"] * d["pix.p2"]
    m, n, pad = d["g.g_m"], d["g.g_n"], d["g.g_pad_top"]
    half = (kernel - 1) / 2
    padding = "none" if pad == 0 else "below half" if pad < int(half) else (
        "above half" if pad > -int(-half // 1) else "half")
    images = 0 if d["pix.p2"] == 1 else 1 if d["pix.p2"] < 4 else 2
    mode = LoadMode(d["g.g_mode"]).name.lower()
    return {
        "kernel x stride": (str(kernel), str(stride)),
        "padding x stride": (padding, str(stride)),
        "out channels mod 16": (str(m % 16),),
        "in channels mod 16": (str(n % 16),),
        "out mod 4 x in mod 4": (str(m % 4), str(n % 4)),
        "tile pixels mod 3 x mod 4": (str(pixels % 3), str(pixels % 4)),
        "images per tile": (_IMAGES[images],),
        **{f"{name} x pool x {other}": (str(d[field]), str(d["g.g_pool"]), str(int(value > 0)))
           for name, field in _ACTIVATIONS.items()
           for other, value in (("bias", d["g.g_bias"]), ("groups", d["g.g_group"]))},
        "channels of a group": (str(d["g.g_group"] or "none"),),
        "gradient operand": (mode,),
        "gradient operand x bias": (mode, str(d["g.g_bias"])),
        "slice x masters": (part, _MASTERS[d.get("u.u_plain", 0)]),
        "stride.phase": (f"{stride}.{d['g.g_phase']}",),
    }


@dataclass
class Coverage:
    """Counts of every bin over the descriptors that were added.

    Attributes:
        counts: descriptors by pass, cross and bin.
    """

    counts: dict[tuple[Pass, str, Bin], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start all bins at zero."""
        for kind in Pass:
            for cross, axes in _crosses(kind).items():
                for values in product(*axes):
                    self.counts.setdefault((kind, cross, values), 0)

    def add_program(self, program: bytes) -> None:
        """Count the convolution descriptors of a program, given as packed descriptors.

        Weight gradients of one entry of the step block are slices of one layer.
        """
        found = [unpack_descriptor(program[at : at + DESCRIPTOR_BYTES])
                 for at in range(0, len(program), DESCRIPTOR_BYTES)
                 if program[at] in _CONVOLUTIONS]
        # Slices of a layer follow each other in order: the first one finds all of them left, the
        # last one only itself.
        left = Counter(d["pre.param"] for d in found)
        whole = left.copy()
        for descriptor in found:
            param = descriptor["pre.param"]
            first, last = left[param] == whole[param], left[param] == 1
            left[param] -= 1
            self.add(descriptor, _SLICES[0] if first and last else _SLICES[1] if first
                     else _SLICES[3] if last else _SLICES[2])

    def add(self, descriptor: Mapping[str, int], part: str) -> None:
        """Count one convolution descriptor; ``part``: which slice of its layer it is."""
        kind, values = Pass(descriptor["g.g_pass"]), _values(descriptor, part)
        for cross in _crosses(kind):
            key = kind, cross, values[cross]
            if key in self.counts:  # unpooled tensors without 2x2 and such are not counted
                self.counts[key] += 1

    def merge(self, other: Coverage) -> None:
        """Add the counts of ``other``."""
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.counts)

    @property
    def hit(self) -> int:
        """Bins with at least one descriptor."""
        return sum(count > 0 for count in self.counts.values())

    def missing(self) -> list[str]:
        """Return the bins without a descriptor, as text."""
        return [f"{kind.name.lower()}: {cross} = {', '.join(values)}"
                for (kind, cross, values), count in self.counts.items() if not count]

    def table(self) -> str:
        """Return a line per pass and cross: bins hit, bins, and fewest hits of a bin."""
        lines = [f"{'pass':<16} {'cross':<28} {'hit':>5} {'bins':>5} {'fewest':>7}"]
        groups: dict[tuple[Pass, str], list[int]] = {}
        for (kind, cross, _), count in self.counts.items():
            groups.setdefault((kind, cross), []).append(count)
        for (kind, cross), counts in groups.items():
            hit = sum(count > 0 for count in counts)
            lines.append(f"{kind.name.lower():<16} {cross:<28} {hit:>5} {len(counts):>5} "
                         f"{min(counts):>7}")
        lines.append(f"{'all':<16} {'':<28} {self.hit:>5} {self.bins:>5}")
        return "\n".join(lines)
