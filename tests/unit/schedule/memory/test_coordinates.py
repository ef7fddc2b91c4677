"""Coordinates of bytes agree with the packing of maps, weights, masters and biases."""

from __future__ import annotations

import numpy as np
import pytest

from pynq_train.graph.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.run.formats import master_words
from pynq_train.schedule.memory.coordinates import TensorMap, find, tensor_maps
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.layout import pack_maps

BATCH = 3
NET = (Sequential((5, 9, 7), "maps").conv(18, 3, padding=1).relu().pool().conv(6, 2, stride=2)
       .relu().dense(7).relu().dense(3).build())


def planned(momentum: bool = True) -> tuple[Plan, dict[str, TensorMap]]:
    plan = make_plan(fuse(NET), BATCH, BOARDS["pynq-z2"], momentum=momentum)
    return plan, {t.symbol: t for t in tensor_maps(plan)}


def ramp(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Every element its own number from 1; padding stays zero."""
    return np.arange(1, 1 + int(np.prod(shape))).reshape(shape).astype(dtype)


def agree(tensor: TensorMap, raw: np.ndarray, values: np.ndarray, names: tuple[str, ...]) -> None:
    """Each nonzero element of the packed bytes is where its coordinates say."""
    flat = raw.reshape(-1)
    assert flat.nbytes <= tensor.nbytes
    seen = 0
    for k in np.flatnonzero(flat):
        found = tensor.coordinates(tensor.offset + int(k) * flat.itemsize)
        assert flat[k] == values[tuple(found[name] for name in names)]
        seen += 1
    assert seen == values.size


def test_feature_maps() -> None:
    plan, tensors = planned()
    x = ramp((BATCH, *NET.input_shape), np.int16)
    agree(tensors["input"], pack_maps(x), x, ("image", "channel", "row", "column"))
    y = ramp((BATCH, *plan.layers[0].out_shape), np.int16)
    for symbol in ("conv1.y", "conv1.dy"):
        agree(tensors[symbol], pack_maps(y), y, ("image", "channel", "row", "column"))
    text = tensors["input"].where(tensors["input"].offset + 2 * (4 * (9 * 7 * 3 + 7 * 2 + 5) + 1))
    assert text == "image 1, channel 5, row 2, column 5"


def test_dense_maps() -> None:
    _, tensors = planned()
    values = ramp((BATCH, 7), np.int16)
    packed = np.zeros((2, BATCH, 4), np.int16)  # [block][image][4]
    for channel in range(7):
        packed[channel // 4, :, channel % 4] = values[:, channel]
    agree(tensors["dense1.y"], packed, values, ("image", "channel"))
    assert tensors["logits"].where(tensors["logits"].offset + 8 * 2 + 2) == "image 2, channel 1"


@pytest.mark.parametrize("momentum", [False, True])
def test_weights_and_masters(momentum: bool) -> None:
    plan, tensors = planned(momentum)
    for spec in plan.specs[:2]:
        w = ramp((spec.m, plan.layers[spec.index].weight_shape[1], *spec.kernel),
                 np.int16)
        names = ("output", "input", "kernel row", "kernel column")
        agree(tensors[f"{spec.name}.w16"], spec.pack_weights(w), w, names)
        master = tensors[f"{spec.name}.wv"]
        if momentum:
            words = master_words(w.astype(np.int32), -w.astype(np.int32))
            halves = np.stack([w, -w], -1).astype(np.int32)
            agree(master, spec.pack_weights(words).view(np.int32), halves, (*names, "part"))
        else:
            agree(master, spec.pack_weights(w.astype(np.int32)), w, names)


def test_masters_name_their_half() -> None:
    _, tensors = planned()
    bias = tensors["conv1.bias"]
    assert bias.where(bias.offset + 8 * 17) == "output 17, weight"
    assert bias.where(bias.offset + 8 * 17 + 4) == "output 17, momentum"


def test_words_flags_records_and_what_lies_between() -> None:
    plan, tensors = planned()
    records, flags = tensors["train.records"], tensors["conv1.flags"]
    assert records.where(records.offset + 32 * 2 + 8) == "descriptor 2, word 1"
    own = plan.specs[0].flags
    assert own is not None
    at = 2 * own.image_stride + own.block_stride + 3 * own.row_stride
    assert flags.where(flags.offset + at) == "image 2, block 1, row 3, word 0"
    every = tensor_maps(plan)
    assert {t.symbol for t in every} == {*plan.memory.regions, *plan.memory.shared}
    assert all(t.axes for t in every if t.symbol not in plan.memory.shared.values()), (
        "a tensor has no coordinates")
    assert find(every, flags.offset + 8) == flags
    assert find(every, plan.memory.nbytes) is None


def test_maps_survive_json() -> None:
    for tensor in tensor_maps(planned()[0]):
        assert TensorMap.from_dict(tensor.to_dict()) == tensor
