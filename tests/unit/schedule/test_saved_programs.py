"""Saved programs: what comes back is what was saved, and each rule at its border."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynq_train.check.random_nets import random_net
from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.graph import Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse
from pynq_train.quant.loss import Loss
from pynq_train.schedule.compiled import (
    FORMAT_VERSION,
    Programs,
    build_programs,
    fitting,
    from_saved,
    to_saved,
)
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select

BOARD = BOARDS["pynq-z2"]
Saved = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def made() -> tuple[Plan, Programs]:
    """A plan with shared regions, views and descriptors of every program, and its programs."""
    net = Sequential((3, 8, 8)).conv(6, 3, padding=1).norm().relu().pool().conv(5, 3).relu()
    plan = make_plan(fuse(net.dense(3).build()), 4, BOARD, momentum=False)
    return plan, build_programs(plan)


@pytest.fixture
def saved(made: tuple[Plan, Programs]) -> Saved:
    """A copy of what a file holds, to be changed."""
    values, arrays = to_saved(*made)
    return copy.deepcopy(values), dict(arrays)


def again(saved: Saved, plan: Plan) -> tuple[Plan, Programs]:
    return from_saved(*saved, plan.layers, plan.board, "'x'")


def same(found: tuple[Plan, Programs], wanted: tuple[Plan, Programs]) -> None:
    plan, old = found[0], wanted[0]
    for name in ("board", "batch", "layers", "specs", "train_from", "momentum", "trainable",
                 "parts", "memory"):
        assert getattr(plan, name) == getattr(old, name), name
    for programs, before in ((plan.train, old.train), (plan.evaluate, old.evaluate)):
        assert [(one.role, one.layer, one.images, one.part, one.node) for one in programs] == [
            (one.role, one.layer, one.images, one.part, one.node) for one in before]
    for one, other in ((found[1].training, wanted[1].training),
                       (found[1].evaluation, wanted[1].evaluation)):
        assert (one.name, one.program, one.taps) == (other.name, other.program, other.taps)
    assert found[1].cycles == wanted[1].cycles


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_back_is_what_was_saved(seed: int) -> None:
    net = random_net(seed)
    layers = fuse(net.graph)
    plan = make_plan(layers, net.batch, BOARD, momentum=seed % 2 == 0,
                     trainable=select(layers, ("all", "last-layer", "bias")[seed % 3]))
    programs = build_programs(plan)
    same(again(to_saved(plan, programs), plan), (plan, programs))


def test_programs_have_figures_of_their_own(made: tuple[Plan, Programs]) -> None:
    programs = made[1]
    assert programs.training.name == "train" and programs.evaluation.name == "evaluate"
    assert programs.cycles["train"] > 2 * programs.cycles["evaluate"] > 0
    assert {one.role for one in programs.training.descriptors} > {
        Role.FORWARD, Role.BACKWARD, Role.WEIGHT_GRADIENT, Role.SOFTMAX}


@pytest.mark.parametrize(("label", "value", "text"), [
    ("version", FORMAT_VERSION + 1, f"expected version {FORMAT_VERSION}, found "),
    ("board", "kv260", "board: expected pynq-z2, found kv260"),
    ("contract", "0" * 64, "hardware contract: expected [0-9a-f]{12}, found 000000000000"),
    ("layers", "f" * 64, "layers and their layouts: expected [0-9a-f]{12}, found ffffffffffff")])
def test_of_what_programs_are(label: str, value: Any, text: str, saved: Saved,
                              made: tuple[Plan, Programs]) -> None:
    saved[0][label] = value
    with pytest.raises(BadInput, match=f"compiled programs of 'x'.*{text}.*; compile the model"):
        again(saved, made[0])


def test_something_else_has_no_version(made: tuple[Plan, Programs]) -> None:
    with pytest.raises(BadInput, match=f"expected version {FORMAT_VERSION}; compile"):
        from_saved([], {}, made[0].layers, BOARD, "'x'")


def last_of(saved: Saved, kind: str) -> list[int]:
    """The span that ends last, of regions or views."""
    return max(saved[0][kind].values(), key=lambda span: span[0] + span[1])


def test_regions_end_in_the_arena_and_do_not_overlap(saved: Saved, made: tuple[Plan, Programs]
                                                     ) -> None:
    plan, values = made[0], saved[0]
    last = last_of(saved, "regions")
    last[1] = values["nbytes"] - last[0]  # up to the end
    again(saved, plan)
    last[1] += 1
    with pytest.raises(BadInput, match="outside the arena"):
        again(saved, plan)
    last[1] -= 1
    one, other = sorted(values["regions"].values())[:2]
    one[1] = other[0] - one[0]  # up to the next one
    again(saved, plan)
    one[1] += 1
    with pytest.raises(BadInput, match="overlaps"):
        again(saved, plan)


def test_views_end_in_the_arena(saved: Saved, made: tuple[Plan, Programs]) -> None:
    saved[0]["views"]["extra"] = [saved[0]["nbytes"] - 8, 8, 0]
    assert again(saved, made[0])[0].memory["extra"].nbytes == 8
    saved[0]["views"]["extra"] = [saved[0]["nbytes"] - 8, 9, 0]
    with pytest.raises(BadInput, match="extra outside the arena"):
        again(saved, made[0])


def test_tensors_share_regions_that_are_there(saved: Saved, made: tuple[Plan, Programs]) -> None:
    saved[0]["shared"]["extra"] = "input"
    memory = again(saved, made[0])[0].memory
    assert memory["extra"] == memory["input"]
    saved[0]["shared"]["extra"] = "inputs"
    with pytest.raises(BadInput, match="a tensor in a region that is not there"):
        again(saved, made[0])


def test_the_arena_fits_the_board(saved: Saved, made: tuple[Plan, Programs]) -> None:
    saved[0]["nbytes"] = BOARD.cma_bytes
    again(saved, made[0])
    saved[0]["nbytes"] += 1
    with pytest.raises(DoesNotFit):
        again(saved, made[0])


def layer_behind_the_last(values: dict[str, Any]) -> None:
    values["descriptors"]["train"][0][1] = len(values["trainable"])


def layer_before_the_first(values: dict[str, Any]) -> None:
    values["descriptors"]["train"][0][1] = -1


def role_before_the_first(values: dict[str, Any]) -> None:
    values["descriptors"]["evaluate"][0][0] = -1


def role_behind_the_last(values: dict[str, Any]) -> None:
    values["descriptors"]["evaluate"][0][0] = len(Role)


def kind_behind_the_last(values: dict[str, Any]) -> None:
    values["regions"]["input"][2] = len(values["kinds"])


def fewer_layers(values: dict[str, Any]) -> None:
    values["trainable"].pop()


def one_descriptor_more(values: dict[str, Any]) -> None:
    values["descriptors"]["evaluate"].append(values["descriptors"]["evaluate"][0])


def program_of_other_size(values: dict[str, Any]) -> None:
    values["sizes"]["train"][0] -= 1
    values["sizes"]["train"][1] += 1


def taps_longer_than_their_region(values: dict[str, Any]) -> None:
    values["regions"]["train.taps"][1] = values["sizes"]["train"][1] - 1


def region_shorter_than_the_program(values: dict[str, Any]) -> None:
    values["regions"]["train.program"][1] -= 1


def one_byte_less(values: dict[str, Any]) -> None:
    values["sizes"]["evaluate"][1] += 1
    values["regions"]["evaluate.taps"][1] = values["sizes"]["evaluate"][1]


def one_byte_more(values: dict[str, Any]) -> None:
    values["sizes"]["evaluate"][1] -= 1


def no_figure(values: dict[str, Any]) -> None:
    del values["cycles"]["evaluate"]


@pytest.mark.parametrize("damage", [
    layer_behind_the_last, layer_before_the_first, role_before_the_first, role_behind_the_last,
    kind_behind_the_last, fewer_layers, one_descriptor_more, program_of_other_size,
    taps_longer_than_their_region, region_shorter_than_the_program, one_byte_less, one_byte_more,
    no_figure], ids=lambda one: one.__name__)
def test_the_smallest_contradictions(damage: Callable[[dict[str, Any]], None], saved: Saved,
                                     made: tuple[Plan, Programs]) -> None:
    damage(saved[0])
    with pytest.raises(BadInput, match="compiled programs of 'x' are malformed"):
        again(saved, made[0])


@pytest.mark.parametrize("more", [1, 1 << 24])
def test_more_bytes_than_are_said_are_not_unpacked(more: int, saved: Saved,
                                                   made: tuple[Plan, Programs]) -> None:
    sizes = saved[0]["sizes"]["train"]
    saved[1]["train"] = np.frombuffer(zlib.compress(bytes(sum(sizes) + more)), np.uint8)
    with pytest.raises(BadInput, match=rf"train: {sum(sizes) + 1} bytes"):
        again(saved, made[0])


def test_programs_fit_the_training_that_they_were_made_for(saved: Saved,
                                                           made: tuple[Plan, Programs]) -> None:
    plan = made[0]
    wanted = (4, False, plan.trainable, plan.loss)
    found = fitting(saved, plan.layers, BOARD, "'x'", wanted)
    assert found is not None
    same(found, made)
    other = select(plan.layers, "last-layer")
    mse, huber = (replace(plan.loss, kind=kind) for kind in ("mse", "huber"))
    for change in ((5, False, plan.trainable, plan.loss), (4, True, plan.trainable, plan.loss),
                   (4, False, other, plan.loss), (4, False, plan.trainable, mse),
                   (4, False, plan.trainable, huber)):
        assert fitting(saved, plan.layers, BOARD, "'x'", change) is None


def test_the_loss_of_a_plan_is_said(made: tuple[Plan, Programs]) -> None:
    plan = replace(made[0], loss=Loss("mse", classes=3))
    values, _ = to_saved(plan, made[1])
    assert values["mse"] is True and to_saved(*made)[0]["mse"] is False
