"""Bugs planted in the lowering of the vector unit: geometry, written apart from it, shows them.

The hardware and golden obeyed such a program together before golden had a geometry to read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pynq_train.errors import IllegalProgram
from pynq_train.graph import Relu
from pynq_train.graph.graph import Graph
from pynq_train.graph.ops import (
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    Op,
)
from pynq_train.hw.boards import BOARDS
from pynq_train.layers.fuse import fuse
from pynq_train.program import Program
from pynq_train.program.verify import verify_program
from pynq_train.schedule.lower import program as lowering
from pynq_train.schedule.lower import vector
from pynq_train.schedule.lower.pool import PoolLowering
from pynq_train.schedule.lower.vector import VectorLowering
from pynq_train.schedule.passes.descriptors import Descriptor, Role, StepBlockLayout
from pynq_train.schedule.plan import Plan, make_plan

BOARD = BOARDS["pynq-z2"]
Fields = dict[str, int]


def residual() -> list[Op]:
    """Two residuals with 10 channels: the last channel block is ragged."""
    ops: list[Op] = [Conv(10, 3, 1, 1, name="c0"), BatchNorm(name="n0"), Relu(name="r0")]
    for k in (1, 2):
        ops += [Conv(10, 3, 1, 1, name=f"c{k}"), BatchNorm(eps=1e-3, name=f"n{k}"),
                Add(f"s{k}", (f"n{k}", f"r{k - 1}")), Relu(name=f"r{k}")]
    return [*ops, GlobalAvgPool("g"), Dense(4, name="logits")]


def joined() -> list[Op]:
    """Branches that are concatenated, one pooled by windows, and a dropout behind them."""
    return [Conv(8, 3, 1, 1, name="c0"), BatchNorm(name="n0"), Relu(name="r0"),
            Conv(8, 3, 1, 1, name="a", inputs=("r0",)), Relu(name="ra"),
            MaxPool(3, 1, 1, name="p", inputs=("r0",)), Concat("j", ("ra", "p")),
            Conv(8, 1, name="b"), BatchNorm(name="nb"), Relu(name="rb"), Dropout(0.25, "drop"),
            Conv(8, 3, 1, 1, name="c"), GlobalAvgPool("g"), Dense(4, name="logits")]


NETS = {"residual": residual, "joined": joined}


@pytest.fixture(scope="module")
def plans() -> tuple[Plan, ...]:
    """Networks whose mini-batch is cut into parts; each tensor has a place of its own."""
    return tuple(make_plan(fuse(Graph.build((3, 12, 12), ops(), name)), 8, BOARD, turns=False)
                 for name, ops in NETS.items())


def verified(plan: Plan) -> None:
    for build in (lowering.build_training, lowering.build_evaluation):
        image = build(plan)
        verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                    plan.memory.nbytes, plan.board.config))


def test_right_ones_pass(plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        assert plan.parts > 1
        verified(plan)


Change = Callable[..., Fields]
"""Takes the unit, what the right method returns and its arguments; returns other fields."""


def sums_of(name: str) -> Change:
    """Sums of another normalisation, or of another pass of the same one."""
    def change(unit: Any, fields: Fields, *_: Any) -> Fields:
        names = {"sums": f"{unit.spec.name}.sums", "gsums": f"{unit.spec.name}.gsums",
                 "first": "n0.sums"}
        return {"n.s_off": unit.at(names[name])}
    return change


def only(wanted: Callable[[Any], bool], change: Change) -> Change:
    """The change where it is a bug, nothing elsewhere."""
    return lambda unit, fields, *args: change(unit, fields, *args) if wanted(unit) else {}


VECTOR_BUGS: dict[str, tuple[type, str, Change]] = {
    "residual of image 0": (VectorLowering, "point", lambda u, f, *_: (
        {"v.b_off": u.at(u.second)} if u.second else {})),
    "map of image 0": (VectorLowering, "point", lambda u, f, *_: {"v.a_off": u.at(u.x)}),
    "images of the next part": (VectorLowering, "node_sums", lambda u, f, *_: {
        "v.a_off": f["v.a_off"] + u.spec.x.image_stride}),
    "result over image 0": (VectorLowering, "point", lambda u, f, *_: (
        {} if u.spec.kind.reduces else {"v.v_off": u.at(u.y)})),
    "statistics of another layer": (VectorLowering, "norm",
                                    only(lambda u: u.spec.name != "n0", sums_of("first"))),
    "statistics of the backward pass": (VectorLowering, "norm", sums_of("gsums")),
    "statistics of the forward pass": (VectorLowering, "node_norm", sums_of("sums")),
    "statistics of half the batch": (VectorLowering, "norm", lambda u, f, *_: {
        "n.n_mean_e": f["n.n_mean_e"] + 1}),
    "biased variance": (VectorLowering, "norm", lambda u, f, *_: {
        "n.n_var_m": 1 << 30, "n.n_var_e": -30}),
    "sums of the last part only": (VectorLowering, "norm", lambda u, f, *_: {
        "n.s_off": f["n.s_off"] + (f["n.n_parts"] - 1) * f["n.n_step"], "n.n_parts": 1}),
    "last part's sums left out": (VectorLowering, "node_norm", lambda u, f, *_: {
        "n.n_parts": f["n.n_parts"] - 1}),
    "sums of another map": (VectorLowering, "sums", lambda u, f, *_: {
        "v.a_off": f["v.a_off"] - u.at(u.x) + u.at(u.y)}),
    "sums over another part's": (VectorLowering, "sums", lambda u, f, *_: {
        "v.s_off": u.at(f"{u.spec.name}.sums")}),
    "no squares": (VectorLowering, "sums", lambda u, f, *_: {"v.v_square": 0}),
    "products with another map": (VectorLowering, "node_sums", lambda u, f, *_: {
        "v.b_off": f["v.b_off"] - u.at(u.x) + u.at(u.y)}),
    "gradient without its mask": (VectorLowering, "node", lambda u, f, *_: {
        "v.v_mask_a": 0, "v.v_mask_b": 0}),
    "sum of gradients without its mask": (VectorLowering, "node_sums", lambda u, f, *_: {
        "v.v_mask_a": 0}),
    "eps of 1e-5": (VectorLowering, "norm", lambda u, f, *_: (
        {} if u.spec.name == "n0" else {"n.n_eps_m": 1407374883, "n.n_eps_e": -47})),
    "gradient in the statistics' place": (VectorLowering, "node_norm", lambda u, f, *_: {
        "n.q_off": f["n.r_off"]}),
    "inference mode in training": (VectorLowering, "norm", lambda u, f, *_: {"n.n_program": 1}),
    "no ReLU": (VectorLowering, "point", lambda u, f, *_: {"v.v_relu": 0}),
    "coefficients of another layer": (VectorLowering, "point", only(
        lambda u: u.spec.kind.normalises and u.spec.name != "n0",
        lambda u, f, *_: {"v.k_off": u.at("n0.table")})),
    "flags not written": (VectorLowering, "point", lambda u, f, *_: {"v.v_flags": 0}),
    "argmax of image 0": (PoolLowering, "backward", lambda u, f, dy, dx, argmax: {
        "p.w_off": argmax}),
    "pooled gradient of image 0": (PoolLowering, "backward", lambda u, f, dy, dx, argmax: {
        "p.i_off": dy}),
    "pool of another map": (PoolLowering, "forward", lambda u, f, x, y, argmax, keep: {
        "p.i_off": y + u.first * u.spec.y.image_stride}),
    "argmax not kept": (PoolLowering, "forward", lambda u, f, *_: {"p.p_argmax": 0}),
    "window at another place": (PoolLowering, "forward", lambda u, f, *_: {
        "p.p_top": 0, "p.t_rows": f["p.t_rows"] + 1}),
}


def plant(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, change: Change) -> None:
    """Replace a method by one that changes fields which the right one returns."""
    right = getattr(owner, name)

    def wrong(unit: Any, *args: Any, **more: Any) -> Fields:
        fields = right(unit, *args, **more)
        changed = change(unit, fields, *args, *more.values())
        return {**fields, **{key: value for key, value in changed.items()
                             if value or key in fields}}

    monkeypatch.setattr(owner, name, wrong)


def programs(plan: Plan) -> tuple[bytes, ...]:
    return tuple(build(plan).program
                 for build in (lowering.build_training, lowering.build_evaluation))


def check(plans: Sequence[Plan], plant_it: Callable[[], None]) -> None:
    """Every program that the bug changes is refused, by the name of a descriptor.

    Raises:
        AssertionError: it changes none, or one of them passes.
    """
    right = [programs(plan) for plan in plans]
    plant_it()
    seen = 0
    for plan, before in zip(plans, right):
        try:
            if programs(plan) == before:
                continue
        except IllegalProgram:
            pass
        seen += 1
        with pytest.raises(IllegalProgram) as caught:
            verified(plan)
        assert re.search(r"descriptor \d+ \(", str(caught.value)), str(caught.value)
        assert any(word in str(caught.value) for word in ("expected", "hazard", "overlap"))
    assert seen, "the bug changes no program"


@pytest.mark.parametrize("bug", list(VECTOR_BUGS))
def test_fields(plans: tuple[Plan, ...], bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check(plans, lambda: plant(monkeypatch, *VECTOR_BUGS[bug]))


@pytest.mark.parametrize("late", [False, True])
def test_stale_flags(plans: tuple[Plan, ...], late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks of image 0, or of the image in front, for every part."""
    right = vector.mask_fields

    def wrong(name: str, mask: Any, at: Any, first: int) -> Fields:
        return right(name, mask, at, max(first - 1, 0) if late else 0)

    check(plans, lambda: monkeypatch.setattr(vector, "mask_fields", wrong))


@pytest.mark.parametrize("change", [
    {"v.d_first": 0}, {"v.d_tensor": 77}, {"v.d_least": 1}, {"v.v_drop": 0}])
def test_dropout(plans: tuple[Plan, ...], change: Fields, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that forget the part, another tensor or rate, or nothing dropped."""
    right = vector.drop_fields
    check(plans, lambda: monkeypatch.setattr(
        vector, "drop_fields", lambda *args: {**right(*args), **change}))


def update_bug(name: str) -> Callable[..., Fields]:
    """An update that is wrong where a normalisation is updated."""
    right = lowering._update_bias

    def wrong(plan: Plan, descriptor: Descriptor) -> Fields:
        fields = right(plan, descriptor)
        spec = plan.specs[descriptor.layer]
        if not spec.kind.normalises:
            return fields
        other = spec.bias_bytes if descriptor.role == Role.UPDATE_GAMMA else -spec.bias_bytes
        return {**fields, **{
            "last channel block": {"u.u_count": fields["u.u_count"] - 4},
            "sums of the other": {"u.g_off": fields["u.g_off"] + other},
            "masters of the other": {"u.wv_off": fields["u.wv_off"] + other},
            "both": {"u.g_off": fields["u.g_off"] + other, "u.wv_off": fields["u.wv_off"] + other},
        }[name]}

    return wrong


@pytest.mark.parametrize("name", ["last channel block", "sums of the other",
                                  "masters of the other", "both"])
def test_updates(plans: tuple[Plan, ...], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gamma and beta: all channels learn, each from its own sums."""
    check(plans, lambda: monkeypatch.setattr(lowering, "_update_bias", update_bug(name)))


@pytest.mark.parametrize("role", [role for role in Role if role not in (
    Role.BIAS_SUMS, Role.CONCAT_BARRIER)])
def test_entries(plans: tuple[Plan, ...], role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another step-block entry for all descriptors of a role."""
    right = StepBlockLayout.index

    def wrong(layout: StepBlockLayout, descriptor: Descriptor) -> int:
        return right(layout, descriptor) + (descriptor.role == role)

    check(plans, lambda: monkeypatch.setattr(StepBlockLayout, "index", wrong))


def test_evaluation_of_a_pool_reads_past_a_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation writes nothing for a dropout: who reads that reads what is older."""
    ops = [Conv(8, 3, 1, 1, name="c"), Relu(), Dropout(0.25), MaxPool(3, 2, 1, name="p"), Dense(4)]
    plan = make_plan(fuse(Graph.build((3, 12, 12), ops)), 4, BOARD)
    verified(plan)
    right = lowering.input_symbol
    check([plan], lambda: monkeypatch.setattr(
        lowering, "input_symbol", lambda plan, layer, which=0, train=True: right(plan, layer,
                                                                                 which)))


PART_ROLES = [Role.FORWARD, Role.NORM_SUMS, Role.FORWARD_VECTOR, Role.BACKWARD, Role.BACKWARD_SUMS,
              Role.BACKWARD_VECTOR, Role.POOL, Role.UNPOOL]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("role", PART_ROLES)
def test_parts(plans: tuple[Plan, ...], role: Role, twice: bool) -> None:
    """A part of the mini-batch is left out, or taken twice and another not at all."""
    seen = 0
    for plan in plans:
        at = [k for k, one in enumerate(plan.train) if one.role == role and one.part == 1]
        if not at:
            continue
        seen += 1
        k = at[len(at) // 2]
        train = list(plan.train)
        if twice:  # in the place of another part
            other = next(j for j, one in enumerate(train) if one.part != 1 and (
                one.role, one.layer, one.node) == (role, train[k].layer, train[k].node))
            train[other] = train[k]
        else:
            del train[k]
        wrong = replace(plan, train=tuple(train))
        image = lowering.build_training(wrong)
        memory = wrong.memory
        with pytest.raises(IllegalProgram) as caught:
            verify_program(Program.make("train", image.program, image.taps, memory, memory.nbytes,
                                        wrong.board.config))
        assert re.search(r"descriptor \d+ \(|parts of the mini-batch", str(caught.value))
    assert seen


@pytest.mark.parametrize("channels", [4, 8])
def test_the_mean_of_a_vector_is_refused_here_too(channels: int, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    """With one channel block nothing else in the program showed that images were mixed."""
    monkeypatch.setattr(importlib.import_module("pynq_train.layers.fuse"), "_check_sums",
                        lambda layers: None)
    ops = [Conv(channels, 3, 1, 1, name="c"), GlobalAvgPool("m"), GlobalAvgPool("g"),
           Dense(4, name="logits")]
    plan = make_plan(fuse(Graph.build((3, 6, 6), ops, "net")), 4, BOARD)
    with pytest.raises(IllegalProgram, match=r"gv\.reduce: expected a map whose words are "
                                             "pixels of an image, found a dense map"):
        verified(plan)
