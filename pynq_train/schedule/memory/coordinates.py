"""Coordinates of a byte of the arena: of which tensor, and which element of it.

With them a difference between two backends is told as "image 3, channel 17" and not as an address.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pynq_train.hw.commands import DESCRIPTOR_BYTES, DESCRIPTOR_WORDS, PARAM_BYTES, RECORD_WORDS
from pynq_train.hw.words import CHANNELS_PER_WORD, WORD_BYTES
from pynq_train.schedule.lower.meaning import EVALUATION, TRAINING
from pynq_train.schedule.memory.arena import SHARED
from pynq_train.schedule.passes.symbols import output_symbol
from pynq_train.schedule.passes.usage import usage
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.layout import MapLayout
from pynq_train.schedule.specs.spec import LayerSpec

_ELEMENT = {
    "program": "<u8", "taps": "<u8", "records": "<i8", "step block": "<u8", "labels": "<i8",
    "map": "<i2", "gradient map": "<i2", "flags": "<u8", "weights": "<i2", "masters": "<i4",
    "gradient sums": "<i8", "scratch": "<i4", "running statistics": "<i8", "statistics": "<i8",
    "coefficients": "<i8", "channel sums": "<i8", SHARED: "<i2",
}
"""Element type of each kind of region, as a NumPy dtype string."""
_UNKNOWN = "u1"
ELEMENT_TYPES = frozenset({*_ELEMENT.values(), _UNKNOWN})
"""All of them."""
_PART = "part"
_PARTS = ("weight", "momentum")
"""Names of the halves of a master word, the low one first."""


@dataclass(frozen=True)
class Axis:
    """One level of a tensor in memory: ``count`` places, ``stride`` bytes apart.

    An index along it adds ``step`` times itself to the coordinate ``name``. Several axes may add to
    one coordinate: a channel is 4 times its channel block plus its place in the word.
    """

    name: str
    count: int
    stride: int
    step: int = 1


@dataclass(frozen=True)
class TensorMap:
    """A tensor of the arena and how its bytes become coordinates.

    Attributes:
        symbol: its symbol.
        offset: byte offset in the arena.
        nbytes: its bytes.
        dtype: NumPy dtype string of its elements.
        axes: levels of its layout, in any order; none where nobody knows what stands in it.
        since: where several tensors take turns: number of the descriptor that is the first to
            write it, since which it stands there. -1: it always does.
    """

    symbol: str
    offset: int
    nbytes: int
    dtype: str
    axes: tuple[Axis, ...] = ()
    since: int = -1

    def coordinates(self, offset: int) -> dict[str, int]:
        """Return the coordinates by name of the element at an offset of the arena; none without
        axes."""
        left, found = offset - self.offset, {axis.name: 0 for axis in self.axes}
        # Largest stride first: what is left then lies within one place of the axes done.
        for axis in sorted(self.axes, key=lambda axis: -axis.stride):
            if axis.count > 1:
                index, left = divmod(left, axis.stride)
                found[axis.name] += axis.step * index
        return found

    def where(self, offset: int) -> str:
        """Return the coordinates as text: ``image 3, channel 17, row 2, column 5``."""
        found = self.coordinates(offset)
        part = found.pop(_PART, None)
        words = [f"{name} {index}" for name, index in found.items()]
        return ", ".join(words + ([] if part is None else [_PARTS[part]]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"symbol": self.symbol, "offset": self.offset, "nbytes": self.nbytes,
                "dtype": self.dtype, "since": self.since,
                "axes": [[a.name, a.count, a.stride, a.step] for a in self.axes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TensorMap:
        """Return a tensor saved by :meth:`to_dict`.

        Raises:
            KeyError, TypeError, ValueError: ``values`` was not made by it.
        """
        axes = tuple(Axis(str(name), int(count), int(stride), int(step))
                     for name, count, stride, step in values["axes"])
        return cls(str(values["symbol"]), int(values["offset"]), int(values["nbytes"]),
                   str(values["dtype"]), axes, int(values["since"]))


def tensor_maps(plan: Plan, program: str = TRAINING) -> tuple[TensorMap, ...]:
    """Return all tensors of a plan in the order of the arena.

    Scratch, and a region in which several tensors take turns, have elements but no coordinates.
    Those that take turns there come behind all regions; who stands there, and when,
    :func:`standing` says.

    Args:
        plan: the plan.
        program: the program that writes them, which is the arena's only one that runs.
    """
    axes = _axes(plan)
    regions = [TensorMap(region.symbol, region.offset, region.nbytes,
                         _ELEMENT.get(region.kind, _UNKNOWN), axes.get(region.symbol, ()))
               for region in plan.memory]
    written = _first_writers(plan, program) if plan.memory.shared else {}
    return (*regions, *(TensorMap(symbol, plan.memory[region].offset, _extent(axes[symbol]),
                                  _ELEMENT["map"], axes[symbol], written[symbol])
                        for symbol, region in plan.memory.shared.items()
                        if symbol in axes and symbol in written))


def standing(tensors: Iterable[TensorMap], index: int | None = None) -> tuple[TensorMap, ...]:
    """Return the tensors that stand in the arena when a descriptor has run.

    Of a region in which several take turns its tensor comes in front of the region.

    Args:
        tensors: what :func:`tensor_maps` returns.
        index: number of the descriptor; None: the last one.
    """
    found, latest = [], dict[int, TensorMap]()
    for tensor in tensors:
        if tensor.since < 0:
            found.append(tensor)
        elif (index is None or tensor.since <= index) and (
                tensor.offset not in latest or latest[tensor.offset].since < tensor.since):
            latest[tensor.offset] = tensor
    return (*latest.values(), *found)


def _first_writers(plan: Plan, program: str) -> dict[str, int]:
    """Return, by symbol, the number of the first descriptor that writes a tensor, or a part of it.
    """
    train = program != EVALUATION
    found: dict[str, int] = {}
    for number, descriptor in enumerate(plan.train if train else plan.evaluate):
        for symbol in usage(plan, descriptor, train).writes:
            found.setdefault(symbol, number)
    for layer, sources in enumerate(plan.sources):
        parts = [found[one] for place in sources
                 if (one := output_symbol(plan, place)) in found and place >= 0]
        if plan.specs[layer].kind.joins and parts:
            found[output_symbol(plan, layer)] = min(parts)
    return found


def _extent(axes: Sequence[Axis]) -> int:
    """Return the bytes from the first element of a feature map to the end of its last one."""
    return 2 + sum((axis.count - 1) * axis.stride for axis in axes)


def _axes(plan: Plan) -> dict[str, tuple[Axis, ...]]:
    """Return the axes of each tensor by its symbol; symbols without a region do no harm."""
    found: dict[str, tuple[Axis, ...]] = {
        "labels": (Axis("image", plan.batch, WORD_BYTES),),
        "step_block": _words("entry", plan.step_block_bytes // PARAM_BYTES,
                             PARAM_BYTES // WORD_BYTES),
        "input": _map(plan.input_layout),
    }
    for region in plan.memory:
        name = region.symbol.rpartition(".")[0]
        if region.kind != "program":
            continue
        count = region.nbytes // DESCRIPTOR_BYTES
        found[f"{name}.program"] = _words("descriptor", count, DESCRIPTOR_WORDS)
        found[f"{name}.records"] = _words("descriptor", count, RECORD_WORDS)
        taps = plan.memory[f"{name}.taps"].nbytes // WORD_BYTES
        found[f"{name}.taps"] = (Axis("tap", taps, WORD_BYTES),)
    for spec in plan.specs:
        own = _map(spec.y, spec.dense)
        last = spec is plan.specs[-1]
        found["logits" if last else f"{spec.name}.y"] = own
        found["dlogits" if last else f"{spec.name}.dy"] = own
        if spec.flags is not None:
            flags = spec.flags
            found[f"{spec.name}.flags"] = (
                Axis("image", flags.images, flags.image_stride),
                Axis("block", flags.blocks, flags.block_stride),
                Axis("row", flags.rows, flags.row_stride),
                Axis("word", flags.row_words, WORD_BYTES))
        part = (Axis(_PART, 2, 4),)
        found[f"{spec.name}.w16"] = _weights(spec, 2)
        found[f"{spec.name}.wv"] = (_weights(spec, 8) + part if plan.momentum
                                    else _weights(spec, 4))
        channels = spec.bias_tiles * spec.m_tile * (2 if spec.kind.has_running else 1)
        outputs = (*_sections(spec, spec.m_tile * WORD_BYTES),
                   Axis("output", channels, WORD_BYTES))
        found[f"{spec.name}.bias"] = (*outputs, *part)
        found[f"{spec.name}.db"] = outputs
    for node in plan.backward_graph.nodes:
        if node.target and node.target not in found:
            layer = (plan.sources[node.layer][node.input] if node.kind.through
                     else node.layer)
            found[node.target] = _map(plan.specs[layer].y, plan.specs[layer].dense)
    return found


def _words(name: str, count: int, words: int) -> tuple[Axis, ...]:
    """Return the axes of ``count`` items of ``words`` words each; the items are named ``name``."""
    return Axis(name, count, words * WORD_BYTES), Axis("word", words, WORD_BYTES)


def _map(layout: MapLayout, dense: bool = False) -> tuple[Axis, ...]:
    """Return the axes of a feature map; the columns of a dense one are images."""
    channels = (Axis("channel", layout.blocks, layout.block_stride, CHANNELS_PER_WORD),
                Axis("channel", CHANNELS_PER_WORD, WORD_BYTES // CHANNELS_PER_WORD))
    if dense:
        return (Axis("image", layout.cols, layout.col_stride), *channels)
    return (Axis("image", layout.images, layout.image_stride), *channels,
            Axis("row", layout.rows, layout.row_stride),
            Axis("column", layout.cols, layout.col_stride))


def _weights(spec: LayerSpec, nbytes: int) -> tuple[Axis, ...]:
    """Return the axes of weights ``[m/tile][nb][kr][kc][tile][4]``, ``nbytes`` bytes each.

    Of a grouped layer each section comes by itself, with input channels counted from its first.
    """
    if spec.kind.pieced:
        return (Axis("weight", spec.weight_elements, nbytes),)
    row = CHANNELS_PER_WORD * nbytes
    tap = spec.m_tile * row
    kernel, tile = spec.kernel, spec.nb * spec.kernel.area * tap
    return (*_sections(spec, tile), Axis("output", spec.m_tiles, tile, spec.m_tile),
            Axis("output", spec.m_tile, row),
            Axis("input", spec.nb, kernel.area * tap, CHANNELS_PER_WORD),
            Axis("input", CHANNELS_PER_WORD, nbytes),
            Axis("kernel row", kernel.rows, kernel.cols * tap),
            Axis("kernel column", kernel.cols, tap))


def _sections(spec: LayerSpec, nbytes: int) -> tuple[Axis, ...]:
    """Return the axis of a grouped layer's sections, ``nbytes`` bytes for each of their m tiles."""
    if spec.groups is None or spec.groups.sections == 1:
        return ()
    tiles = spec.groups.section_tiles(spec.m_tile)
    return (Axis("output", spec.groups.sections, tiles * nbytes, spec.groups.section_m),)


def find(tensors: Iterable[TensorMap] | Sequence[TensorMap], offset: int) -> TensorMap | None:
    """Return the tensor that holds a byte, None between tensors."""
    return next((t for t in tensors if t.offset <= offset < t.offset + t.nbytes), None)
