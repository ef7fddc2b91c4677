"""Maps take turns: the same bits and the same waits in a smaller arena, proven free of hazards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pynq_train.backends import open_backend
from pynq_train.check.draw import RandomNet
from pynq_train.check.random_nets import random_net
from pynq_train.errors import IllegalProgram
from pynq_train.graph import Graph, zoo
from pynq_train.graph.activation import Relu
from pynq_train.graph.ops import BatchNorm, Conv, Dense, GlobalAvgPool
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import pack_descriptor
from pynq_train.layers import fuse
from pynq_train.layers.init import init_params
from pynq_train.program import Program, verify_program
from pynq_train.quant import SgdStep
from pynq_train.run import Masters
from pynq_train.run.session import Session, new_policy
from pynq_train.schedule.compiled import Programs, build_programs
from pynq_train.schedule.lower.program import build_training
from pynq_train.schedule.memory import turns as module
from pynq_train.schedule.memory.coordinates import find, standing, tensor_maps
from pynq_train.schedule.memory.lives import Lives
from pynq_train.schedule.memory_use import training_memory
from pynq_train.schedule.passes.descriptors import Role
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select

BOARD = BOARDS["pynq-z2"]


def planned(net: RandomNet, turns: bool = True) -> Plan:
    layers = fuse(net.graph)
    return make_plan(layers, net.batch, BOARD, trainable=select(layers, net.trainable),
                     turns=turns)


def trained(plan: Plan, programs: Programs, seed: int) -> list[Any]:
    """What two steps with an evaluation between them leave; the arena begins full of junk."""
    masters = {name: Masters.of(p) for name, p in init_params(plan.layers, seed).items()}
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((plan.batch, *plan.layers[0].in_shape)).astype(np.float32)
    y = rng.integers(0, plan.classes, plan.batch)
    with open_backend("golden", plan.memory.nbytes) as backend:
        session = Session(plan, backend, masters, new_policy(plan, masters, 1), fill_seed=seed,
                          programs=programs)
        session.calibrate(x, y)
        losses = [session.train_step(x, y, SgdStep(0.05, 0.9, 1e-4)).loss_sum]
        losses.append(session.evaluate(x, y)[0].loss_sum)
        losses.append(session.train_step(x, y, SgdStep(0.05, 0.9, 1e-4)).loss_sum)
        return [losses, {name: (m.weight.tobytes(), m.weight_momentum.tobytes(),
                                b"" if m.bias is None else m.bias.tobytes())
                         for name, m in session.read_masters().items()}]


@pytest.mark.parametrize("seed", [*range(0, 24, 3), 41])
def test_turns_change_addresses_alone(seed: int) -> None:
    net = random_net(seed)
    plans = planned(net, turns=False), planned(net)
    apart, turns = (build_programs(plan) for plan in plans)
    for one, other in ((apart.training, turns.training), (apart.evaluation, turns.evaluation)):
        assert [{k: v for k, v in f.items() if k.startswith("pre.wait")} for f in one.fields] == [
            {k: v for k, v in f.items() if k.startswith("pre.wait")} for f in other.fields]
    assert plans[1].memory.nbytes <= plans[0].memory.nbytes
    assert trained(plans[0], apart, seed) == trained(plans[1], turns, seed)


def broad() -> RandomNet:
    ops = [op for number in range(4) for op in (
        Conv(8, 3, 1, 1, name=f"conv{number + 1}"), BatchNorm(name=f"bn{number + 1}"), Relu())]
    graph = Graph.build((4, 12, 12), [*ops, GlobalAvgPool(), Dense(3)], "broad")
    return RandomNet(graph, 4, "all")


@pytest.mark.parametrize("seed", [3, 7, 18])
def test_order_in_the_program_is_not_enough(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes later in the program may begin earlier: the verifier refuses such places."""
    def later(lives: Lives, one: str, other: str) -> bool:
        first, last = lives._first, lives._last
        return any(max((n for n, _ in last[a].values()), default=-1)
                   < min((n for n, _ in first[b].values()), default=1 << 30)
                   for a, b in ((one, other), (other, one)))

    net = random_net(seed)
    build_programs(planned(net))
    monkeypatch.setattr(Lives, "apart", later)
    with pytest.raises(IllegalProgram, match="hazard at shared"):
        build_programs(planned(net))


def test_a_map_that_is_given_away_too_early_is_refused_or_changes_bits(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that a weight gradient still reads is taken for dead behind its forward pass."""
    net = broad()
    right = planned(net)
    found = trained(right, build_programs(right), 5)
    usage = module.Lives.__init__.__globals__["usage"]

    def forgetful(network: Any, descriptor: Any, train: bool) -> Any:
        use = usage(network, descriptor, train)
        if descriptor.role is not Role.WEIGHT_GRADIENT:
            return use
        return type(use)(use.waits, use.reads[1:], use.writes, use.by_parts)

    monkeypatch.setitem(module.Lives.__init__.__globals__, "usage", forgetful)
    wrong = planned(net)
    try:
        programs = build_programs(wrong)
    except IllegalProgram as error:
        assert "hazard at shared" in str(error)
    else:
        assert trained(wrong, programs, 5) != found


def test_tensors_of_a_shared_place_are_told_apart_by_time() -> None:
    plan = planned(broad())
    tensors = tensor_maps(plan)
    own = next(spec for spec in plan.specs if spec.on_array and f"{spec.name}.y"
               in plan.memory.shared)
    place = plan.memory.shared[f"{own.name}.y"]
    sharing = {symbol for symbol, region in plan.memory.shared.items() if region == place}
    assert len(sharing) > 1
    offset = plan.memory[place].offset
    seen = [find(standing(tensors, index), offset) for index in range(len(plan.train))]
    names = [one.symbol for one in seen if one is not None]
    assert {name for name in names if name != place} == sharing
    forward = next(n for n, one in enumerate(plan.train)
                   if one.role is Role.FORWARD and one.layer == own.index)
    assert names[forward] == f"{own.name}.y"
    found = seen[forward]
    assert found is not None and found.where(offset + 2) == "image 0, channel 1, row 0, column 0"
    last = find(standing(tensors), offset)
    assert last is not None and last.symbol == names[-1]


BARS = {"bias": 4.0, "norm": 2.0, "last-layer": 19.0}
"""How many times less than everything, with a place for each map, a training needs: at least."""


@pytest.mark.parametrize("net", ["resnet20", "mobilenet_v1_025"])
def test_what_training_needs_more_than_inference(net: str) -> None:
    layers = fuse(zoo.get(net))
    everything = training_memory(make_plan(layers, 8, BOARD))
    whole = everything.apart.tensors - everything.inference.tensors
    assert everything.turns.tensors < 0.85 * everything.apart.tensors
    for choice, times in BARS.items():
        found = training_memory(make_plan(layers, 8, BOARD, trainable=select(layers, choice)))
        assert found.inference == everything.inference
        more = found.turns.tensors - found.inference.tensors
        assert 0 < times * more <= whole, f"{choice}: {whole / more:.2f} times"
    resting = tuple(replace(layer, norm=replace(layer.norm, frozen=True)) if layer.norm else layer
                    for layer in layers)
    # At rest, with gammas that stay, no normalisation needs its input: masks are left.
    for choice, times in (("bias", 15.0), ("norm", 2.0)):
        found = training_memory(make_plan(resting, 8, BOARD, trainable=select(resting, choice)))
        more = found.turns.tensors - found.inference.tensors
        assert 0 < times * more <= whole, f"{choice}, frozen statistics: {whole / more:.2f} times"


def test_bytes_by_kind_are_those_of_the_arena() -> None:
    plan = planned(broad())
    found = training_memory(plan)
    assert found.turns.total == sum(region.nbytes for region in plan.memory)
    assert found.apart.total == sum(region.nbytes for region in planned(broad(), False).memory)
    masters = sum(r.nbytes for r in plan.memory if r.kind == "masters")
    assert found.turns.kinds["masters"] == found.turns.kinds["momentum"] == masters // 2
    assert "maps and gradients in turn" in found.text()
    assert found.to_dict()["turns"] == dict(found.turns.kinds)


def test_sums_of_gamma_need_the_map() -> None:
    """A frozen normalisation whose gamma learns sums products with its input; else it need not."""
    ops = [Conv(8, 3, 1, 1, name="c"), BatchNorm(frozen=True, name="n"), Relu(), GlobalAvgPool(),
           Dense(3)]
    layers = fuse(Graph.build((4, 8, 8), ops, "frozen"))
    found = {}
    for choice in ("norm", "bias"):
        plan = make_plan(layers, 4, BOARD, trainable=select(layers, choice), turns=False)
        image = build_training(plan)
        sums = [k for k, one in enumerate(plan.train) if one.role is Role.BACKWARD_SUMS]
        found[choice] = [bool(image.fields[k].get("v.v_b")) for k in sums]
        fields = [{**own, "v.v_b": 0, "gv.has_b": 0} if k in sums else own
                  for k, own in enumerate(image.fields)]
        program = Program.make(image.name, b"".join(map(pack_descriptor, fields)), image.taps,
                               plan.memory, plan.memory.nbytes, BOARD.config)
        if choice == "bias":
            verify_program(program)
        else:
            with pytest.raises(IllegalProgram, match="sums of gamma: expected products with the"):
                verify_program(program)
    assert all(found["norm"]) and not any(found["bias"]) and found["bias"]
