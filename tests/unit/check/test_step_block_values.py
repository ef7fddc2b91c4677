"""Values of the step block: right ones pass, planted ones are found by descriptor and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from pynq_train.check.random_branches import random_branched_net
from pynq_train.check.random_chains import random_chain
from pynq_train.check.step_block import check_step_block
from pynq_train.errors import IllegalProgram
from pynq_train.graph import Graph, Relu6
from pynq_train.graph.ops import (
    Add,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
)
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.commands import PARAM_BYTES, Opcode, pack_params, unpack_params
from pynq_train.hw.geometry import Work
from pynq_train.layers import init_params
from pynq_train.layers.fuse import fuse
from pynq_train.quant import Loss, SgdStep, StepExponents
from pynq_train.quant import step as step_module
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.schedule.lower.program import ProgramImage, build_evaluation, build_training
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.schedule.specs.trainable import select

BOARD = BOARDS["pynq-z2"]
STEPS = (SgdStep(0.05), SgdStep(0.01, 0.9, 1e-4, seed=3, step=5),
         SgdStep(0.02, 0.9, 1e-4, parts=3, part=1, clip=-3),
         SgdStep(0.02, 0.9, 1e-4, parts=3, part=2, clip=-3), SgdStep(0.02, 0.5, nesterov=True))


@dataclass(frozen=True)
class Case:
    """A program with its exponents and values."""

    plan: Plan
    image: ProgramImage
    exponents: StepExponents
    sgd: SgdStep | None

    @classmethod
    def of(cls, plan: Plan, sgd: SgdStep | None) -> Case:
        """With the exponents of a first step."""
        masters = {name: Masters.of(p) for name, p in init_params(plan.layers, 7).items()}
        policy = new_policy(plan, masters, 2)
        used = policy.exponents(plan.batch, sgd is not None)
        return cls(plan, build_training(plan) if sgd else build_evaluation(plan), used, sgd)

    def block(self) -> bytes:
        return pack_step_block(self.plan, plan_params(self.plan, self.exponents, self.sgd))

    def check(self, block: bytes) -> None:
        check_step_block(self.plan, self.image.fields, self.exponents, self.sgd, block)


def network() -> Graph:
    """Every kind of layer, with momenta and dropout of their own."""
    return Graph.build((3, 12, 12), [
        Conv(8, 3, 1, 1, name="c"), BatchNorm(name="n"), Relu6(name="r"),
        MaxPool(3, 2, 1, name="p"), Conv(8, 3, 1, 1, name="e"), BatchNorm(0.03, name="m"),
        Add("s", ("m", "p")), Relu6(name="q"), Dropout(0.25, "drop"), GlobalAvgPool("g"),
        Dense(4, name="logits")])


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan(fuse(network()), 6, BOARD)


def test_right_values_pass(seed: int) -> None:
    for number in range(4):
        net = random_chain(seed + number)
        layers = fuse(net.graph)
        chosen = select(layers, net.trainable)
        plans = [make_plan(layers, net.batch, BOARD, trainable=chosen)]
        branched = random_branched_net(seed + number)
        plans.append(make_plan(fuse(branched.graph), branched.batch, BOARD))
        for plan in plans:
            for sgd in (None, *STEPS):
                case = Case.of(plan, sgd)
                case.check(case.block())


@pytest.mark.parametrize(("loss", "field"), [
    (Loss("mse", classes=4), "m_shift"), (Loss(smoothing=0.1, classes=4), "t_off")])
def test_losses(plan: Plan, loss: Loss, field: str) -> None:
    case = Case.of(replace(plan, loss=loss), STEPS[1])
    assert case.exponents.loss == loss
    block = case.block()
    case.check(block)
    entry = unpack_params(Opcode.SOFTMAX, block[:PARAM_BYTES])
    wrong = pack_params(Opcode.SOFTMAX, {**entry, field: entry[field] + 1})
    with pytest.raises(IllegalProgram, match=rf"SOFTMAX, logits\): .* {field}: expected"):
        case.check(wrong + block[PARAM_BYTES:])


IGNORED = {
    # Fields that a descriptor of this network does not read.
    Opcode.CONV: {"bias_shift", "limit"},
    Opcode.UPDATE: {"w_shift"}, Opcode.GRADIENT: set(),
    Opcode.SOFTMAX: {"m_shift"}, Opcode.NORM: {"g_exp", "b_exp"},
    Opcode.VECTOR: {"limit", "a_scale", "b_scale", "drop_step", "drop_seed"},
    Opcode.POOL: {"limit", "a_scale", "b_scale", "drop_step", "drop_seed"}}


def moved(case: Case) -> Iterator[tuple[str, bytes]]:
    """Step blocks with one field of one entry changed: which, and the bytes."""
    block = case.block()
    done = set()
    for fields in case.image.fields:
        opcode, index = Opcode(fields["pre.opcode"]), fields["gc.entry"]
        if index in done:
            continue
        done.add(index)
        at = PARAM_BYTES * index
        entry = unpack_params(opcode, block[at:at + PARAM_BYTES])
        for name, value in entry.items():
            if "pad" in name or name in IGNORED[opcode]:
                continue
            if name == "alpha" and fields["gc.work"] == Work.GRADIENT_COEFFICIENTS:
                continue
            other = 1 - value if name == "nesterov" else value + 1 if value < 40 else value - 1
            if name == "lr":
                other = value ^ 1 << 10
            data = pack_params(opcode, {**entry, name: other})
            yield f"{opcode.name} {index} {name}", block[:at] + data + block[at + PARAM_BYTES:]


def test_a_changed_field_is_found(plan: Plan) -> None:
    """Every field that its descriptors read, by one."""
    case = Case.of(plan, STEPS[1])
    count = 0
    for name, block in moved(case):
        field = name.split()[-1]
        with pytest.raises(IllegalProgram, match=r"descriptor \d+ \(") as caught:
            case.check(block)
        # A factor says of which shift it is, two fields make a learning rate.
        assert any(word in str(caught.value) for word in (field, "_scale", "learning rate")), name
        count += 1
    assert count > 60



def other_layer(right: Callable[..., Any]) -> Callable[..., Any]:
    """Forward fields with the exponent of another output."""
    def wrong(layer: Any, e: Any, sgd: Any) -> Any:
        return right(layer, replace(e, y=e.y + 1), sgd)
    return wrong


def rates_swapped(right: Callable[..., Any]) -> Callable[..., Any]:
    """Factors of weights and biases the other way round."""
    def wrong(exponents: Any, sgd: Any, layers: Any) -> Any:
        if sgd is None:
            return right(exponents, sgd, layers)
        turned = tuple((b, a) for a, b in sgd.factors)
        return right(exponents, replace(sgd, factors=turned), layers)
    return wrong


BUGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "exponent of another output": ("_forward_fields", other_layer),
    "rates of weights and biases swapped": ("_update_fields", rates_swapped),
    "limit of another exponent": ("limit_code", lambda right: lambda a, e: right(a, e + 1)),
    "no scale of a second map": ("_scale", lambda right: lambda e, total: right(e + 1, total)),
    "no clipping": ("clip_shift", lambda right: lambda exponents, limit: 1 + right(exponents,
                                                                                 limit)),
    "gradients of another exponent": ("_gradient_shift", lambda right: lambda e: right(e + 1)),
    "rate that forgets the batch": ("learning_rate_fields", lambda right: lambda lr: right(
        lr * 1.5)),
    "mean over other pixels": ("mean_scale", lambda right: lambda n: (right(n)[0] + 9,
                                                                    right(n)[1])),
    "kept elements of another rate": ("keep_scale", lambda right: lambda p: (right(p)[0] + 9,
                                                                           right(p)[1])),
}


@pytest.mark.parametrize("bug", list(BUGS))
def test_planted(plan: Plan, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    factors = tuple((0.5 + 0.1 * k, 2.0 + 0.1 * k) for k in range(len(plan.layers)))
    case = Case.of(plan, replace(STEPS[2], part=2, factors=factors))
    case.check(case.block())
    name, change = BUGS[bug]
    monkeypatch.setattr(step_module, name, change(getattr(step_module, name)))
    with pytest.raises(IllegalProgram, match=r"descriptor \d+ \(\w+, \w+\): "):
        case.check(case.block())


def test_gamma_with_the_rate_of_beta_is_found(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """``layer_lr`` of gamma alone: the survivor of the first faults."""
    factors = tuple((0.0, 1.0) for _ in plan.layers)
    case = Case.of(plan, replace(STEPS[1], factors=factors))
    right = step_module._bias_fields
    monkeypatch.setattr(step_module, "_bias_fields", lambda sgd, fold, factor, e, scale: right(
        sgd, fold, factor if e.total is None else 1.0, e, scale))
    with pytest.raises(IllegalProgram, match=r"\(UPDATE, [nm]\): learning rate of weights"):
        case.check(case.block())


def test_statistics_that_move_in_an_evaluation_are_found(plan: Plan) -> None:
    case = Case.of(plan, STEPS[1])
    with pytest.raises(IllegalProgram, match="alpha"):
        check_step_block(plan, case.image.fields, case.exponents, case.sgd, case.block(),
                         moving=False)


def measured(plan: Plan, sgd: SgdStep | None, draw: np.random.Generator, small: bool) -> Case:
    """A program with the exponents of drawn ranges; ``small``: so fine that 6 is no limit."""
    masters = {name: Masters.of(p) for name, p in init_params(plan.layers, 7).items()}
    policy = new_policy(plan, masters, 2)
    policy.exponents(plan.batch)
    policy.feature = [[-6 if small else int(draw.integers(-14, 5))] for _ in plan.layers]
    policy.gradient = [[int(draw.integers(-40, -3))] for _ in plan.layers]
    policy.extra = {name: [int(draw.integers(-40, -3))] for name in policy.extra}
    image = build_training(plan) if sgd else build_evaluation(plan)
    return Case(plan, image, policy.exponents(plan.batch, sgd is not None), sgd)


def test_right_values_pass_whatever_was_measured(plan: Plan, rng: np.random.Generator) -> None:
    for number in range(30):
        case = measured(plan, (None, *STEPS)[number % (1 + len(STEPS))], rng, number % 3 == 0)
        case.check(case.block())


def test_a_limit_of_six_where_none_is_reached_is_found(plan: Plan,
                                                       rng: np.random.Generator) -> None:
    case = measured(plan, STEPS[1], rng, True)
    block = case.block()
    found = 0
    for fields in case.image.fields:
        opcode, at = Opcode(fields["pre.opcode"]), PARAM_BYTES * fields["gc.entry"]
        entry = unpack_params(opcode, block[at:at + PARAM_BYTES])
        layer = plan.layers[fields["gc.layer"]]
        if layer.activation.top is None or not entry.get("limit"):
            continue
        assert entry["limit"] == 65535
        for limit, wrong in ((32767, False), (32766, True), (1, True)):
            data = pack_params(opcode, {**entry, "limit": limit})
            changed = block[:at] + data + block[at + PARAM_BYTES:]
            if wrong:
                with pytest.raises(IllegalProgram, match=r"limit: expected 32768, none at the out"):
                    case.check(changed)
            else:
                case.check(changed)
        found += 1
    assert found >= 2
