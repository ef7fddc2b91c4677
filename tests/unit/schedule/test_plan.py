"""Plans and programs: memory, waits, refusals, and a whole step in the literal engine model."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from reference_models import direct, update_model
from reference_models.engine_model import run_conv

from pynq_train.errors import BadInput, DoesNotFit
from pynq_train.graph import zoo
from pynq_train.graph.graph import Graph, Sequential
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import (
    DESCRIPTOR_BYTES,
    PARAM_BYTES,
    Opcode,
    Semaphore,
    unpack_descriptor,
    unpack_params,
)
from pynq_train.hw.config import CONFIGS
from pynq_train.layers.fuse import fuse
from pynq_train.program import Program, verify_program
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.schedule import report
from pynq_train.schedule.lower.program import build_evaluation, build_training
from pynq_train.schedule.lower.records import read_records
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.passes.descriptors import Role, param_index
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.predict import predict
from pynq_train.schedule.report import table
from pynq_train.schedule.specs.layout import pack_maps, unpack_dense, unpack_maps

BOARD = BOARDS["pynq-z2"]
NETS = ("digits", "lenet5", "1x")
BATCHES = (1, 3, 128)


def tiny() -> Graph:
    return (Sequential((2, 9, 9), "tiny").conv(5, 3, padding=1).relu().pool()
            .conv(18, 3, stride=2, padding=1).relu().dense(6).relu().dense(3).build())


@pytest.mark.parametrize("name,batch", list(itertools.product(NETS, BATCHES)))
def test_programs(name: str, batch: int) -> None:
    plan = make_plan(fuse(zoo.get(name)), batch, BOARD)
    for image in (build_training(plan), build_evaluation(plan)):
        assert len(image.program) == plan.memory[f"{image.name}.program"].nbytes
        assert len(image.taps) == plan.memory[f"{image.name}.taps"].nbytes
        counts = dict.fromkeys(Semaphore, 0)
        for number in range(image.count):
            at = number * DESCRIPTOR_BYTES
            d = unpack_descriptor(image.program[at:at + DESCRIPTOR_BYTES])
            for unit in "xsy":
                done = counts[Semaphore(d[f"pre.wait_{unit}_sem"])]
                assert d[f"pre.wait_{unit}"] <= done, "waits for something behind it"
            counts[Semaphore(d["pre.signal"])] += 1
            assert d["pre.number"] == number
    offsets = [(r.offset, r.end) for r in plan.memory]
    assert all(a[1] <= b[0] and b[0] % 128 == 0 for a, b in itertools.pairwise(offsets))


@pytest.mark.parametrize("name,batch", [
    pytest.param(name, batch, marks=pytest.mark.slow if (name, batch) == ("1x", 128) else ())
    for name, batch in itertools.product(NETS, BATCHES)])
def test_tables_give_the_predictions_and_training_takes_longer(name: str, batch: int) -> None:
    plan = make_plan(fuse(zoo.get(name)), batch, BOARD)
    cycles, evaluation = (predict(plan, p).cycles for p in (plan.train, plan.evaluate))
    assert cycles > evaluation > 0
    if batch <= 3:
        text = table(plan)
        assert "forward" in text and f"training step: {cycles} cycles predicted" in text
        assert f"evaluation: {evaluation} cycles predicted" in text


def test_gradients_follow_their_backward_pass_and_biases_their_gradients() -> None:
    plan = make_plan(fuse(zoo.get("1x")), 1, BOARD)
    image = build_training(plan)
    seen: list[tuple[Role, int]] = []
    updates = 0
    for descriptor, fields in zip(image.descriptors, image.fields):
        if descriptor.role == Role.WEIGHT_GRADIENT:
            # The update overwrites the weights that the backward pass reads.
            spec = plan.specs[descriptor.layer]
            assert (Role.BACKWARD, descriptor.layer) in seen or not spec.backward
        if descriptor.role == Role.UPDATE_BIAS:
            assert fields["pre.wait_x_sem"] == Semaphore.UPDATE
            assert fields["pre.wait_x"] == updates
        updates += descriptor.role in (Role.WEIGHT_GRADIENT, Role.UPDATE_BIAS)
        seen.append((descriptor.role, descriptor.layer))
    assert seen.count((Role.WEIGHT_GRADIENT, 5)) > 1, "the case must have slices"


def fill(plan: Plan, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Random input, weights and logit gradients in an arena of random bytes."""
    arena = rng.integers(0, 256, plan.memory.nbytes, dtype=np.uint8)

    def put(symbol: str, values: np.ndarray) -> None:
        raw = np.frombuffer(values.tobytes(), np.uint8)
        assert raw.size == plan.memory[symbol].nbytes, symbol
        arena[plan.memory[symbol].offset:][:raw.size] = raw

    x = rng.integers(-20000, 20000, (plan.batch, *plan.layers[0].in_shape))
    put("input", pack_maps(x.astype(np.int16)))
    weights = []
    for spec, layer in zip(plan.specs, plan.layers):
        w = rng.integers(-20000, 20000, layer.weight_shape)
        weights.append(w)
        put(f"{spec.name}.w16", spec.pack_weights(w.astype(np.int16)))
        put(f"{spec.name}.bias", spec.pack_bias(np.full(spec.m, 1 << 20)))
    image = build_training(plan)
    put("train.program", np.frombuffer(image.program, np.uint8))
    put("train.taps", np.frombuffer(image.taps, np.uint8))
    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph, [0] * len(plan.specs))
    put("step_block", np.frombuffer(pack_step_block(plan, plan_params(
        plan, policy.exponents(plan.batch), SgdStep(0.01, 0.9, 5e-4))), np.uint8))
    dlogits = plan.memory["dlogits"]
    arena[dlogits.offset:dlogits.end] = np.frombuffer(
        rng.integers(-20000, 20000, dlogits.nbytes // 2).astype(np.int16).tobytes(), np.uint8)
    return arena, weights, x


def test_whole_step_in_the_engine_model() -> None:
    """Every convolution of a program on its own addresses: outputs against direct sums."""
    plan = make_plan(fuse(tiny()), 3, BOARD, turns=False)  # it reads maps behind the step
    arena, weights, x = fill(plan, np.random.default_rng(3))
    step = plan.memory["step_block"].offset
    base = plan.memory["train.program"].offset
    wv = plan.memory["dense1.wv"]
    before = plan.specs[2].unpack_weights(arena[wv.offset:wv.end].view(np.int64).copy())
    for number, descriptor in enumerate(plan.train):
        if descriptor.role.opcode in (Opcode.CONV, Opcode.GRADIENT):
            run_conv(arena, base + number * DESCRIPTOR_BYTES, step, BOARD.config)

    def int16(symbol: str) -> np.ndarray:
        region = plan.memory[symbol]
        return arena[region.offset:region.end].view(np.int16).astype(np.int64)

    policy = ExponentPolicy.start(plan.quant_layers, plan.backward_graph, [0] * 4)
    params = plan_params(plan, policy.exponents(3), None)

    def forward(layer: int, inputs: np.ndarray) -> np.ndarray:
        spec = plan.specs[layer]
        w = weights[layer].reshape(spec.m, -1, *spec.kernel)
        total = direct.conv(inputs, w, spec.stride, spec.pad_top, spec.pad_left,
                            plan.layers[layer].out_shape_before_pool[1:])
        shift = params.forward[layer]["bias_shift"]
        bias = (1 << 20) << shift if shift >= 0 else (1 << 20) >> -shift
        y = direct.requantise(total + bias, params.forward[layer]["shift"])[0]
        return np.maximum(y, 0) if spec.activation.has_flags else y

    y1 = direct.pool(forward(0, x)[:, :, :8, :8])[0]
    y2 = forward(1, y1)
    y3 = forward(2, y2.reshape(3, -1, 1, 1))
    y4 = forward(3, y3)
    assert (unpack_maps(int16("conv1.y").reshape(3, 2, 4, 4, 4), 5) == y1).all()
    assert (unpack_maps(int16("conv2.y").reshape(3, 5, 2, 2, 4), 18) == y2).all()
    assert (unpack_dense(int16("logits").reshape(1, 3, 4), 3) == y4[:, :, 0, 0]).all()
    d4 = unpack_dense(int16("dlogits").reshape(1, 3, 4), 3)
    d3 = unpack_dense(int16("dense1.dy").reshape(2, 3, 4), 6)
    total = np.einsum("im,mn->in", d4, weights[3])
    assert (d3 == direct.requantise(total, params.backward[3]["shift"])[0]).all()
    d3 = np.where(y3[:, :, 0, 0] > 0, d3, 0)
    after = plan.specs[2].unpack_weights(arena[wv.offset:wv.end].view(np.int64))
    sums = np.einsum("im,in->mn", d3, y2.reshape(3, -1))
    descriptor = step + param_index(Role.WEIGHT_GRADIENT, 2) * PARAM_BYTES
    fields = unpack_params(Opcode.GRADIENT, arena[descriptor:descriptor + PARAM_BYTES].tobytes())
    for total, old, new in zip(sums.ravel(), before.ravel(), after.ravel()):
        weight, momentum = update_model.step(int(total), update_model.signed32(int(old)),
                                             int(old) >> 32, fields)
        assert (update_model.signed32(int(new)), int(new) >> 32) == (weight, momentum)
    assert (before != after).any()
    d2 = direct.requantise(d3 @ weights[2], params.backward[2]["shift"])[0].reshape(y2.shape)
    d2 = np.where(y2 > 0, d2, 0)
    db = plan.memory["conv2.db"]
    assert (arena[db.offset:db.end].view(np.int64)[:18] == d2.sum((0, 2, 3))).all()
    result = read_records(plan, plan.train, arena[plan.memory["train.records"].offset:][
        :plan.memory["train.records"].nbytes])
    assert result.measures.forward[0] > 0 and result.measures.backward[0] is None


def test_refusals() -> None:
    layers = fuse(zoo.get("1x"))
    with pytest.raises(DoesNotFit, match=r"layer 'conv1'.*131072.*262144.*at most 128 images"):
        make_plan(layers, 256, BOARD)
    with pytest.raises(DoesNotFit, match="mini-batch of at most"):
        make_plan(layers, 128, replace(BOARD, cma_bytes=8 << 20))
    with pytest.raises(DoesNotFit, match="board with more memory"):
        make_plan(layers, 1, replace(BOARD, cma_bytes=1 << 20))
    with pytest.raises(BadInput, match="batch"):
        make_plan(layers, 0, BOARD)
    with pytest.raises(BadInput, match="train_from"):
        make_plan(layers, 1, BOARD, train_from=7)
    for net, batch, words in (
        (Sequential((4, 2, 1025)).conv(4, 1).relu().dense(2), 1, "columns with Relu.*1024.*1025"),
        (Sequential((4, 2, 514)).conv(4, 1).relu().pool().dense(2), 1,
         "columns with pooling.*512.*514"),
        (Sequential((4, 1, 1)).dense(4).relu().dense(2), 1025, "mini-batch with Relu.*1024.*1025"),
    ):
        with pytest.raises(DoesNotFit, match=words):
            make_plan(fuse(net.build()), batch, BOARD)
    wide = fuse(Sequential((64, 4, 3000)).conv(8, 11, padding=5).conv(4, 11, padding=5).dense(2)
                .build())
    make_plan(wide, 1, replace(BOARD, cma_bytes=1 << 40))
    small = replace(BOARD, config=replace(BOARD.config, acc_groups=64))
    masked = fuse(Sequential((64, 4, 1000)).conv(8, 11, padding=5).relu().conv(4, 11, padding=5)
                  .relu().dense(2).build())
    with pytest.raises(DoesNotFit, match=r"accumulator groups.*smaller kernel"):
        make_plan(masked, 1, small)


@pytest.mark.parametrize(("tm", "name", "least"), [
    (16, "s_ring_words", 128), (32, "s_ring_words", 512)])
def test_queues_that_no_layer_fits_are_refused(tm: int, name: str, least: int,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    layers = fuse(Sequential((2, 3, 3)).conv(5, 3, padding=1).conv(34, 1).dense(3).build())

    def plan(words: int) -> Plan:
        changes: dict[str, int] = {"tm": tm, name: words}
        config = replace(BOARD.config, **changes)
        monkeypatch.setitem(CONFIGS, config.name, config)
        return make_plan(layers, 3, replace(BOARD, config=config, budget=BOARDS["zcu104"].budget))

    image = build_training(made := plan(least))
    verify_program(Program.make(image.name, image.program, image.taps, made.memory,
                                made.memory.nbytes, made.board.config))
    with pytest.raises(DoesNotFit, match=rf"{name}: expected at least .* {tm} output lanes"):
        plan(least // 2)


@pytest.mark.parametrize(("board", "cols", "pool"), [
    ("pynq-z2", 131, True), ("pynq-z2", 299, True), ("zcu104", 75, True), ("zcu104", 200, False)])
def test_rows_with_flags_are_cut_if_they_must_be(board: str, cols: int, pool: bool) -> None:
    """Whole rows fit no tile, parts of them do: of 16 columns and a rest."""
    net = Sequential((3, 6, cols)).conv(8, 3, padding=1).relu()
    plan = make_plan(fuse((net.pool() if pool else net).global_pool().dense(4).build()), 2,
                     BOARDS[board])
    image = build_training(plan)
    verify_program(Program.make(image.name, image.program, image.taps, plan.memory,
                                plan.memory.nbytes, plan.board.config))
    cut = [e.tiled for e in plan.train
           if e.tiled is not None and e.layer == 0 and e.tiled.col_tiles > 1]
    assert cut and all(tiled.tile.cols % 16 == 0 for tiled in cut)


def test_the_widest_maps_have_tiles() -> None:
    """One row is as much as a tile takes, and more than that."""
    net = Sequential((3, 4, 8000)).conv(8, 3, padding=1).conv(6, 11, padding=5).global_pool()
    layers = fuse(net.dense(4).build())
    for board in ("pynq-z2", "zcu104"):
        plan = make_plan(layers, 1, BOARDS[board])
        tiles = [e.tiled for e in plan.train if e.tiled is not None]
        assert any(g.tile.rows == 1 and g.col_tiles > 1 for g in tiles)
        assert all(g.excess(BOARDS[board].config) is None for g in tiles)


def test_a_dense_layer_is_not_asked_for_a_smaller_kernel() -> None:
    board = replace(BOARD, config=replace(BOARD.config, x_bank_words=16))
    layers = fuse(Sequential((3, 1, 1)).dense(4).relu().dense(2).build())
    make_plan(layers, 8, board)
    with pytest.raises(DoesNotFit, match=r"layer 'dense1', .*smaller mini-batch"):
        make_plan(layers, 9, board)


def test_only_the_last_layers_are_trained() -> None:
    plan = make_plan(fuse(zoo.get("digits")), 4, BOARD, train_from=2)
    roles = [(e.role, e.layer) for e in plan.train]
    assert (Role.BACKWARD, 2) not in roles and (Role.WEIGHT_GRADIENT, 2) in roles
    assert all(layer == 2 for role, layer in roles
               if role not in (Role.FORWARD, Role.SOFTMAX))
    assert "conv1.w16" in plan.memory and "conv1.db" not in plan.memory
    image = build_training(plan)
    assert not any(f.get("y.flags") for f in image.fields)


@pytest.mark.parametrize("references", [
    (("1x", 1), ("resnet20-conv", 2)), pytest.param(report.REFERENCES, marks=pytest.mark.slow)],
    ids=len)
def test_predictions_of_reference_networks(references: tuple[tuple[str, int], ...],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"1x", "resnet20-conv", "vgg16-conv", "alexnet-conv"} == {
        name for name, _ in report.REFERENCES}
    monkeypatch.setattr(report, "REFERENCES", references)
    text = report.predict_table(BOARD, detail=False)
    assert len(text.splitlines()) == len(references)
    for name, batch in references:
        assert f"{name} batch {batch}" in text
