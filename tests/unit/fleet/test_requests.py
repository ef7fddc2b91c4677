"""Requests to segments come back from a message as they were."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.backends.names import board_of
from pynq_train.check.random_nets import random_net
from pynq_train.errors import BadInput
from pynq_train.fleet import requests
from pynq_train.fleet.build import SegmentPlans
from pynq_train.fleet.cut import Cut, legal_edges
from pynq_train.fleet.segment import DeviceMap, SegmentInput, SegmentOutput
from pynq_train.fleet.wire import REQUEST, Arrays, Message, Values, decode, encode
from pynq_train.quant import Loss
from pynq_train.schedule.specs.trainable import Trainable


def sent(values: Values, arrays: Arrays) -> tuple[Values, Arrays]:
    """Values and arrays behind a message."""
    got = decode(encode(Message(REQUEST, "x", values, arrays)))
    return got.values, got.arrays


def drawn_maps(rng: np.random.Generator) -> dict[str, DeviceMap]:
    return {f"a/{k}.y": DeviceMap(rng.integers(-9, 9, (2, 1, 3, 3, 4)).astype(np.int16),
                                  int(rng.integers(-20, 20))) for k in range(3)}


def same(first: DeviceMap, second: DeviceMap) -> bool:
    return (first.exponent == second.exponent and first.codes.dtype == second.codes.dtype
            and np.array_equal(first.codes, second.codes))


@pytest.mark.parametrize("labels", [None, np.arange(5)])
def test_inputs(labels: np.ndarray | None, rng: np.random.Generator) -> None:
    given = SegmentInput(rng.integers(0, 1 << 62, 50), drawn_maps(rng),
                         {"b.y": -3, "c.y": np.int64(7)}, labels, 2)  # type: ignore[dict-item]
    key, got = requests.from_input("x", *sent(*requests.to_input(4, given)))
    assert (key, got.slot, got.exponents) == (4, 2, {"b.y": -3, "c.y": 7})
    assert np.array_equal(got.block, given.block)
    assert list(got.maps) == list(given.maps)
    assert all(same(got.maps[name], one) for name, one in given.maps.items())
    if labels is None:
        assert got.labels is None
    else:
        assert got.labels is not None and np.array_equal(got.labels, labels)


def test_outputs(rng: np.random.Generator) -> None:
    given = SegmentOutput(drawn_maps(rng), rng.integers(-99, 99, (6, 4)), 1234)
    got = requests.from_output("x", *sent(*requests.to_output(given)))
    assert got.cycles == 1234 and np.array_equal(got.records, given.records)
    assert all(same(got.maps[name], one) for name, one in given.maps.items())


@pytest.mark.parametrize("seed", range(3))
def test_a_member_plans_the_segment_that_its_coordinator_has(seed: int) -> None:
    drawn = random_net(seed)
    cut = Cut.of(drawn.graph, legal_edges(drawn.graph)[:2])
    chosen = tuple(Trainable(at % 2 == 0 or at == len(cut.layers) - 1, True)
                   for at in range(len(cut.layers)))
    chosen = tuple(Trainable(one.weights and layer.has_parameters,
                             one.bias and layer.has_parameters and bool(layer.bias))
                   for one, layer in zip(chosen, cut.layers))
    loss = Loss("cross-entropy", 0.125, drawn.graph.classes)
    plans = SegmentPlans.of(cut, "golden", drawn.batch, momentum=seed == 1, trainable=chosen,
                            loss=loss, slots=2)
    for part in plans.parts:
        spec = requests.SegmentSpec.of(part)
        key, got = requests.SegmentSpec.from_values(sent(spec.values(part.number), {})[0])
        assert key == part.number
        assert (got.number, got.batch, got.momentum, got.trainable, got.loss, got.slots) == (
            spec.number, spec.batch, spec.momentum, spec.trainable, spec.loss, spec.slots)
        own = got.plan(board_of("golden"))
        for slot in range(2):
            mine, theirs = own.programs(slot), part.programs(slot)
            assert list(mine) == list(theirs)
            for name, program in mine.items():
                assert program.program == theirs[name].program


@pytest.mark.parametrize(("values", "arrays", "text"), [
    ({}, {}, "expected key"),
    ({"key": 0, "slot": -1, "exponents": {}, "map_exponents": {}}, {}, "slot: expected an integer"),
    ({"key": 0, "slot": 0, "exponents": {"a": 1 << 20}, "map_exponents": {}}, {}, "exponents.a"),
    ({"key": 0, "slot": 0, "exponents": {}, "map_exponents": {"a": 1}}, {}, "an exponent for each"),
    ({"key": 0, "slot": 0, "exponents": {}, "map_exponents": {}},
     {"block": np.zeros(3, np.int32)}, "block: expected an array of int64, found int32"),
    ({"key": 0, "slot": 0, "exponents": {}, "map_exponents": {}},
     {"block": np.zeros(3, np.int64), "labels": np.zeros(3)}, "labels: expected an array of int64"),
])
def test_malformed_inputs(values: Values, arrays: Arrays, text: str) -> None:
    with pytest.raises(BadInput, match=text):
        requests.from_input("segment.forward", values, arrays)
