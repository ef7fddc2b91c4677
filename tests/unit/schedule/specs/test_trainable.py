"""What is trainable: selection by keyword and pattern, and what a plan then keeps and saves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import Sequential, zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import PARAM_BYTES, unpack_params
from pynq_train.layers import fuse
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.schedule.freeze_report import freeze_report
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.report import table
from pynq_train.schedule.specs.trainable import Trainable, describe_trainable, select

BOARD = BOARDS["pynq-z2"]
LENET = fuse(zoo.get("lenet5"))
MIXED = fuse(Sequential((1, 6, 6)).conv(4, 3, bias=False).relu().conv(5, 3).dense(3).build())
ALL, NONE = Trainable(), Trainable(False, False)
BIAS, WEIGHT = Trainable(False, True), Trainable(True, False)


def plan(train: str | tuple[str, ...], name: str = "lenet5", batch: int = 4) -> Plan:
    layers = fuse(zoo.get(name))
    return make_plan(layers, batch, BOARD, trainable=select(layers, train))


@pytest.mark.parametrize(("train", "trainable", "text"), [
    ("all", (WEIGHT, ALL, ALL), "conv1, conv2, dense1"),
    ("last-layer", (NONE, NONE, ALL), "dense1"),
    ("last-block", (NONE, ALL, ALL), "conv2, dense1"),
    ("bias", (NONE, BIAS, BIAS), "conv2.bias, dense1.bias"),
    ("conv*", (WEIGHT, ALL, NONE), "conv1, conv2"),
    (["conv2.weight", "*.bias"], (NONE, ALL, BIAS), "conv2, dense1.bias"),
    (("conv2.weight",), (NONE, WEIGHT, NONE), "conv2.weight"),
])
def test_selection(train: str | list[str], trainable: tuple[Trainable, ...], text: str) -> None:
    assert select(MIXED, train) == trainable
    assert describe_trainable(MIXED, trainable) == text


def test_last_block_of_other_chains() -> None:
    dense = fuse(Sequential((4, 1, 1)).dense(5).relu().dense(4).relu().dense(3).build())
    assert [one.anything for one in select(dense, "last-block")] == [False, True, True]
    single = fuse(Sequential((4, 1, 1)).dense(3).build())
    assert select(single, "last-block") == (ALL,)


@pytest.mark.parametrize(("train", "text"), [
    ("norm", "trainable='norm': expected a network with normalisation layers, found only conv1, "
     "conv2, dense1; use trainable='bias' or trainable='last-layer'"),
    ("conv9", "trainable: nothing is called 'conv9': expected one of all, last-layer, last-block, "
     "bias, norm, or a name or pattern of conv1, conv2, dense1 (parameters: NAME.weight, "
     "NAME.bias)"),
    ("conv1.bias", "trainable: nothing is called 'conv1.bias': expected one of all, last-layer, "
     "last-block, bias, norm, or a name or pattern of conv1, conv2, dense1 (parameters: "
     "NAME.weight, NAME.bias)"),
    ([], "trainable: expected a keyword or a list of layer names, found []"),
    ([1], "trainable: expected a keyword or a list of layer names, found [1]"),
    (None, "trainable: expected a keyword or a list of layer names, found None"),
    (True, "trainable: expected a keyword or a list of layer names, found True"),
    (["bias"], "trainable: nothing is called 'bias': expected one of all, last-layer, last-block, "
     "bias, norm, or a name or pattern of conv1, conv2, dense1 (parameters: NAME.weight, "
     "NAME.bias); give the keyword 'bias' by itself, not in a list"),
])
def test_refusals(train: str, text: str) -> None:
    with pytest.raises(BadInput) as caught:
        select(MIXED, train)
    assert str(caught.value) == text
    with pytest.raises(BadInput, match="a layer with a bias, found none; use trainable='last"):
        select(MIXED[:1], "bias")


def test_a_refusal_lists_only_what_can_be_trained() -> None:
    pooled = fuse(Sequential((1, 6, 6)).conv(4, 3).norm().relu().pool().dropout(0.5).dense(3)
                  .build())
    with pytest.raises(BadInput, match=r"a name or pattern of conv1, bn1, dense1 \(parameters"):
        select(pooled, "pool1")


def test_wrong_number_of_layers() -> None:
    with pytest.raises(BadInput, match="trainable: expected one for each of 5 layers, found 2"):
        make_plan(LENET, 4, BOARD, trainable=(ALL, ALL))
    with pytest.raises(BadInput, match="trainable layers: expected at least one, found none"):
        make_plan(LENET, 4, BOARD, trainable=(NONE,) * 5)


def test_frozen_layers_keep_nothing() -> None:
    found = plan("last-layer")
    assert [e.role for e in found.train[6:]] == [Role.WEIGHT_GRADIENT, Role.UPDATE_BIAS]
    for name in ("conv1.flags", "conv1.dy", "conv1.db", "conv1.wv", "dense2.dy", "dense2.wv"):
        assert name not in found.memory
    assert found.memory["conv1.y"] == found.memory["dense1.y"]
    assert found.memory["conv1.y"] != found.memory["conv2.y"]


def test_frozen_layers_above_run_backward_without_an_update() -> None:
    found = plan(("conv1",))
    roles = [(e.role, e.layer) for e in found.train]
    assert {layer for role, layer in roles if role == Role.BACKWARD} == {1, 2, 3, 4}
    assert {layer for role, layer in roles if role == Role.WEIGHT_GRADIENT} == {0}
    assert "dense1.flags" in found.memory and "dense1.wv" not in found.memory
    assert found.memory["conv2.dy"] == found.memory["dense2.dy"]


def test_biases_alone_keep_no_activations() -> None:
    found = plan("bias")
    whole = plan("all")
    assert {e.layer for e in found.train if e.role == Role.BIAS_SUMS} == {0, 1, 2, 3, 4}
    assert not any(e.role == Role.WEIGHT_GRADIENT for e in found.train)
    kept = {region.symbol for region in found.memory
            if region.kind in ("map", "gradient map", "shared map")}
    assert kept == {"input", "logits", "dlogits", "shared0", "shared1", "zeros"}
    assert found.memory.nbytes < whole.memory.nbytes / 2


def test_the_freeze_report_is_shown() -> None:
    found = plan("last-block", "digits", 2)
    saved = freeze_report(found)
    assert saved.parameters == 32 * 16 * 9 + 32 + 1280 + 10
    assert saved.all_cycles and saved.cycles < saved.all_cycles
    text = table(found)
    assert "trainable: conv2, dense1 (5930 of 6090 parameters)" in text
    assert f'against trainable="all": {saved.cycles} instead of {saved.all_cycles} cycles' in text
    assert "against train" not in table(plan("all"))


def test_a_training_that_fits_only_frozen() -> None:
    layers = fuse(zoo.get("digits"))
    small = replace(BOARD, cma_bytes=100_000)
    found = make_plan(layers, 16, small, trainable=select(layers, "last-layer"))
    assert 'against trainable="all": that would not fit this board' in table(found)


def test_step_block_of_what_is_frozen() -> None:
    """Where a bias alone learns, the scratch weights keep still; what is frozen has no entry."""
    found = plan(("conv1.bias", "dense3"))
    policy = ExponentPolicy.start(found.quant_layers, found.backward_graph, [0] * 5)
    params = plan_params(found, policy.exponents(4), SgdStep(0.1, 0.9, 1e-3))
    block = pack_step_block(found, params)

    def descriptor(role: Role, layer: int) -> dict[str, int]:
        at = PARAM_BYTES * param_index(role, layer)
        fields = unpack_params(role.opcode, block[at : at + PARAM_BYTES])
        return {name: value for name, value in fields.items() if value}

    assert descriptor(Role.BIAS_SUMS, 0) == {"momentum": 1 << 16, "g_shift": 63}
    assert descriptor(Role.UPDATE_BIAS, 0)["lr"] == descriptor(Role.UPDATE_BIAS, 4)["lr"] > 0
    assert descriptor(Role.WEIGHT_GRADIENT, 4)["decay"] > 0
    for layer in (1, 2, 3):
        assert not descriptor(Role.WEIGHT_GRADIENT, layer)
        assert not descriptor(Role.UPDATE_BIAS, layer)
