"""Requests of a coordinator to the segments of a member, as plain values and arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pynq_train.errors import BadInput
from pynq_train.files.schema import Flag, Items, Number, Record, Table, Text, Whole
from pynq_train.fleet.cut import Cut
from pynq_train.fleet.segment import DeviceMap, SegmentInput, SegmentOutput
from pynq_train.fleet.segment_plan import SegmentPlan
from pynq_train.fleet.wire import Arrays, Values
from pynq_train.fleet.wire.plain import Plain
from pynq_train.graph import Graph
from pynq_train.hw.boards import Board
from pynq_train.quant import Loss
from pynq_train.quant.loss import LOSSES
from pynq_train.schedule.plan import make_plan
from pynq_train.schedule.specs.trainable import Trainable

OPEN = "segment.open"
FORWARD, BACKWARD, EVALUATE = "segment.forward", "segment.backward", "segment.evaluate"
READ, WRITE = "segment.read", "segment.write"

_MAP = "map/"
_MOST_EXPONENT = 1 << 12
_KEY = Whole(0, 1 << 20)
_EXPONENT = Whole(-_MOST_EXPONENT, _MOST_EXPONENT)
_OPEN = Record({
    "key": _KEY, "graph": Plain(), "after": Items(Text(500)), "number": Whole(0, 10_000),
    "batch": Whole(1, 1 << 20), "momentum": Flag(),
    "trainable": Items(Items(Flag(), least=2, most=2)), "loss": Text(among=LOSSES),
    "smoothing": Number(0, 1), "slots": Whole(1, 1 << 10)})
_INPUT = Record({"key": _KEY, "slot": Whole(0, 1 << 10), "exponents": Table(_EXPONENT),
                 "map_exponents": Table(_EXPONENT)})
_OUTPUT = Record({"map_exponents": Table(_EXPONENT), "cycles": Whole(0, 1 << 62)})
_WRITE = Record({"key": _KEY, "exponents": Items(_EXPONENT)})
_ONLY_KEY = Record({"key": _KEY})


@dataclass(frozen=True)
class SegmentSpec:
    """What a member has to know to plan a segment for its board as its coordinator does.

    Attributes:
        cut: the network and where it is cut.
        number: which of its segments.
        batch: images of a mini-batch.
        momentum: whether masters have momentum.
        trainable: what is trained of each layer.
        loss: what is minimised.
        slots: mini-batches in flight.
    """

    cut: Cut
    number: int
    batch: int
    momentum: bool
    trainable: tuple[Trainable, ...]
    loss: Loss
    slots: int

    @classmethod
    def of(cls, part: SegmentPlan) -> SegmentSpec:
        """Return that of a planned segment."""
        plan = part.plan
        return cls(part.cut, part.number, plan.batch, plan.momentum, plan.trainable, plan.loss,
                   len(part.slots))

    def plan(self, board: Board) -> SegmentPlan:
        """Return the plan of the segment on a board.

        Raises:
            DoesNotFit: it is too large for it.
        """
        whole = make_plan(self.cut.layers, self.batch, board, momentum=self.momentum,
                          trainable=self.trainable, fits=False, turns=False)
        return SegmentPlan.of(replace(whole, loss=self.loss), self.cut, self.number, self.slots)

    def values(self, key: int) -> Values:
        """Return the values of the request to put the segment up under a number."""
        return {"key": key, "graph": self.cut.graph.to_dict(), "after": list(self.cut.after),
                "number": self.number, "batch": self.batch, "momentum": self.momentum,
                "trainable": [[one.weights, one.bias] for one in self.trainable],
                "loss": self.loss.kind, "smoothing": self.loss.smoothing, "slots": self.slots}

    @classmethod
    def from_values(cls, values: Values) -> tuple[int, SegmentSpec]:
        """Return the number and the segment of a request.

        Raises:
            BadInput: it is malformed, or the network cannot be cut so.
        """
        got = _OPEN.check(values, OPEN)
        cut = Cut.of(Graph.from_dict(got["graph"]), got["after"])
        if got["number"] >= cut.count or len(got["trainable"]) != len(cut.layers):
            raise BadInput(OPEN, expected=f"a segment of {cut.count} and {len(cut.layers)} layers",
                           found=f"number {got['number']} and {len(got['trainable'])} layers")
        return got["key"], cls(cut, got["number"], got["batch"], got["momentum"],
                               tuple(Trainable(*one) for one in got["trainable"]),
                               Loss(got["loss"], got["smoothing"], cut.graph.classes),
                               got["slots"])


def to_input(key: int, request: SegmentInput) -> tuple[Values, Arrays]:
    """Return a request as values and arrays."""
    values, arrays = _maps(request.maps)
    arrays["block"] = request.block
    if request.labels is not None:
        arrays["labels"] = request.labels
    return {"key": key, "slot": request.slot, "exponents": _whole(request.exponents),
            **values}, arrays


def from_input(name: str, values: Values, arrays: Arrays) -> tuple[int, SegmentInput]:
    """Return the number of a segment, and the request to it.

    Raises:
        BadInput: it is malformed.
    """
    got = _INPUT.check(values, name)
    maps = _from_maps(name, got["map_exponents"], arrays)
    return got["key"], SegmentInput(
        _int64(name, arrays, "block"), maps, got["exponents"],
        _int64(name, arrays, "labels") if "labels" in arrays else None, got["slot"])


def to_output(answer: SegmentOutput) -> tuple[Values, Arrays]:
    """Return an answer as values and arrays."""
    values, arrays = _maps(answer.maps)
    return {"cycles": int(answer.cycles), **values}, {"records": answer.records, **arrays}


def from_output(name: str, values: Values, arrays: Arrays) -> SegmentOutput:
    """Return the answer of a segment; shapes are the pipeline's matter.

    Raises:
        BadInput: it is malformed.
    """
    got = _OUTPUT.check(values, name)
    return SegmentOutput(_from_maps(name, got["map_exponents"], arrays),
                         _int64(name, arrays, "records"), got["cycles"])


def write_values(key: int, exponents: Any) -> Values:
    """Return the values of a request to take masters over."""
    return {"key": key, "exponents": [int(one) for one in exponents]}


def from_write(values: Values) -> tuple[int, list[int]]:
    """Return the number of a segment and the exponents of the 16-bit copies.

    Raises:
        BadInput: the request is malformed.
    """
    got = _WRITE.check(values, WRITE)
    return got["key"], got["exponents"]


def key_of(name: str, values: Values) -> int:
    """Return the number of a segment.

    Raises:
        BadInput: the request is malformed.
    """
    key: int = _ONLY_KEY.check(values, name)["key"]
    return key


def _maps(maps: Mapping[str, DeviceMap]) -> tuple[Values, Arrays]:
    return ({"map_exponents": _whole({symbol: one.exponent for symbol, one in maps.items()})},
            {f"{_MAP}{symbol}": one.codes for symbol, one in maps.items()})


def _from_maps(name: str, exponents: Mapping[str, int], arrays: Arrays) -> dict[str, DeviceMap]:
    found = {key[len(_MAP):]: array for key, array in arrays.items() if key.startswith(_MAP)}
    if set(found) != set(exponents):
        raise BadInput(f"maps of {name}", expected="an exponent for each",
                       found=f"{len(found)} maps and {len(exponents)} exponents")
    return {symbol: DeviceMap(codes, exponents[symbol]) for symbol, codes in found.items()}


def _whole(numbers: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(number) for name, number in numbers.items()}


def _int64(name: str, arrays: Arrays, label: str) -> Any:
    array = arrays.get(label)
    if array is None or array.dtype != np.int64:
        raise BadInput(f"{name}: {label}", expected="an array of int64",
                       found="none" if array is None else array.dtype)
    return array
