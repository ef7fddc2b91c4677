"""Layer lists as one program: every pass once, legal, in an arena of their own."""

from __future__ import annotations

import pytest

from pynq_train.errors import DoesNotFit
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.words import WORD_BYTES
from pynq_train.layers.fuse import FusedLayer
from pynq_train.layers.layer_lists import conv_layer
from pynq_train.program import Program, verify_program
from pynq_train.schedule.layer_list import layer_list_plan
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import predict

BOARD = BOARDS["pynq-z2"]
BATCH = 2
LAYERS = (conv_layer("one", 20, 3, 12), conv_layer("two", 12, 20, 9, groups=4),
          conv_layer("three", 24, 32, 6, stride=2))
"""Sizes that do not fit to each other, as in lists of single layers."""


def planned(layers: tuple[FusedLayer, ...] = LAYERS, momentum: bool = True) -> Plan:
    return layer_list_plan(layers, BATCH, BOARD, momentum)


def test_a_list_is_planned_as_one_training_step() -> None:
    plan = planned()
    assert (plan.board, plan.batch, plan.train_from, plan.momentum) == (BOARD, BATCH, 0, True)
    assert [spec.name for spec in plan.specs] == [layer.name for layer in plan.layers]
    assert [spec.index for spec in plan.specs] == [0, 1, 2]
    assert [layer.sources for layer in plan.layers] == [(-1,), (0,), (1,)]
    assert plan.evaluate == plan.train and len(plan.trainable) == 3
    assert all(own.weights and own.bias for own in plan.trainable)
    passes = {(one.layer, one.role) for one in plan.train}
    for layer in range(3):
        assert {(layer, Role.FORWARD), (layer, Role.WEIGHT_GRADIENT)} <= passes
        assert ((layer, Role.BACKWARD) in passes) == (layer > 0)
    assert predict(plan, plan.train).cycles > 0


@pytest.mark.parametrize("momentum", [False, True])
def test_its_program_is_legal_and_its_arena_holds_every_tensor(momentum: bool) -> None:
    plan = planned(momentum=momentum)
    image = build_training(plan)
    verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                plan.memory.nbytes, BOARD.config))
    sizes = {region.symbol: region.nbytes for region in plan.memory}
    first, second, third = plan.specs
    for before, after in ((first, second), (second, third)):
        assert sizes[f"{before.name}.y"] == max(before.y.nbytes, after.x.nbytes)
        assert sizes[f"{before.name}.dy"] == sizes[f"{before.name}.y"]
    assert sizes["input"] == first.x.nbytes
    assert sizes["logits"] == sizes["dlogits"] == third.y.nbytes
    for spec in plan.specs:
        weights = spec.weight_bytes // 2
        assert sizes[f"{spec.name}.wv"] == weights * (WORD_BYTES if momentum else WORD_BYTES // 2)
        assert sizes[f"{spec.name}.bias"] == sizes[f"{spec.name}.db"] == spec.bias_bytes
        assert spec.flags is not None and sizes[f"{spec.name}.flags"] == spec.flags.nbytes


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="products"):
        layer_list_plan((conv_layer("wide", 8, 8, 300),), 2, BOARD)
    with pytest.raises(DoesNotFit, match="pynq-z2"):
        layer_list_plan((conv_layer("deep", 4096, 1000, 4, 11),), 1, BOARD)
