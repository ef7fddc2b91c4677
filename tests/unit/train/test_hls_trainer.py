"""The trainer of the EF-Train kernel around a kernel that only takes notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynq_train.errors import BadInput
from pynq_train.graph import AvgPool, Conv, Dense, Graph, PadChannels, Relu, Relu6
from pynq_train.graph.params import LayerParams
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import fuse, init_params
from pynq_train.quant import SgdStep
from pynq_train.quant.loss import Loss
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.run.trainer import StepOutcome
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.train import hls

IMAGES = np.full((3, 2, 4, 4), -5.0, np.float32)
LABELS = np.array([1, 0, 2])
SAID = SimpleNamespace(loss_sum=4.5, correct=2)


class Kernel:
    """Notes what it is asked, and adds 1 to all weights in a step."""

    def __init__(self, layers: object, params: Mapping[str, LayerParams], batch: int) -> None:
        self.batch = batch
        self.asked: list[tuple[Any, ...]] = []
        self.write(params)

    def write(self, params: Mapping[str, LayerParams]) -> None:
        """Set the weights."""
        self.params = dict(params)

    def read(self) -> dict[str, LayerParams]:
        """Return them."""
        return self.params

    def step(self, *given: Any) -> Any:
        """Take note of a step."""
        self.asked.append(given)
        self.params = {name: replace(own, weight=own.weight + np.float32(1))
                       for name, own in self.params.items()}
        return SAID

    def evaluate(self, *given: Any) -> Any:
        """Take note of an evaluation."""
        self.asked.append(given)
        return SAID, np.ones((3, 3), np.float32)


def planned(*ops: Any, **more: Any) -> tuple[Plan, dict[str, Masters]]:
    layers = fuse(Graph.build((2, 4, 4), ops or (Conv(3, 3, name="c"), Relu(), Dense(3))))
    masters = {name: Masters.of(one) for name, one in init_params(layers, 0).items()}
    return replace(make_plan(layers, 3, BOARDS["pynq-z2"]), **more), masters


def made(*ops: Any, **more: Any) -> hls.HlsTrainer:
    plan, masters = planned(*ops, **more)
    return hls.HlsTrainer(plan, masters, new_policy(plan, masters, 2))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel that only takes notes."""
    monkeypatch.setattr(hls, "EfNetwork", Kernel)


@pytest.mark.usefixtures("kernel")
def test_outcomes_have_no_cycles_and_no_saturations() -> None:
    trainer = made()
    asked = trainer._network.asked  # type: ignore[attr-defined]
    wanted = StepOutcome(loss_sum=4.5, correct=2, images=3, cycles=0, saturations=0, counters={})
    assert trainer.train_step(IMAGES, LABELS, SgdStep(0.25)) == wanted
    assert asked[0][0] is IMAGES and asked[0][1] is LABELS and asked[0][2] == 0.25
    outcome, logits = trainer.evaluate(IMAGES, LABELS)
    assert outcome == wanted and logits.shape == (3, 3) and asked[1][1] is LABELS
    assert trainer.evaluate(IMAGES)[0] == wanted
    assert asked[2][0] is IMAGES and asked[2][1].tolist() == [0, 0, 0]


@pytest.mark.usefixtures("kernel")
def test_ranges_of_images_are_kept_for_other_boards() -> None:
    trainer = made()
    trainer.widen(IMAGES / 4)
    assert trainer.policy.input_k == 2, "never narrowed"
    trainer.widen(IMAGES)
    assert trainer.policy.input_k == 3
    trainer.prepare(IMAGES, None, 1)
    assert trainer.policy.input_k == 1


@pytest.mark.usefixtures("kernel")
def test_the_policy_of_read_masters_fits_them() -> None:
    trainer = made()
    trainer.policy.input_k = 5
    for _ in range(3):
        trainer.train_step(IMAGES, LABELS, SgdStep(0.25))
    masters = trainer.read_masters()
    assert trainer.policy.input_k == 5
    assert trainer.policy == new_policy(trainer.plan, masters, 5)
    largest = max(np.abs(own.weight).max() for own in masters.values())
    assert max(trainer.policy.weight_k) == int(largest).bit_length() - 28 >= 2
    other = planned()[1]
    trainer.write_masters(other)
    assert all(own.same_bits(other[name]) for name, own in trainer.read_masters().items())


@pytest.mark.usefixtures("kernel")
def test_what_fails_is_undone_and_what_does_not_stays() -> None:
    trainer = made()
    before = trainer.read_masters()

    def fails() -> None:
        trainer.train_step(IMAGES, LABELS, SgdStep(0.25))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.protected(fails)
    assert all(own.same_bits(before[name]) for name, own in trainer.read_masters().items())
    assert trainer.protected(lambda: trainer.train_step(IMAGES, LABELS, SgdStep(1.0))).images == 3
    assert not trainer.read_masters()["c"].same_bits(before["c"])


@pytest.mark.parametrize(("change", "text"), [
    ({"factors": ((1.0, 1.0), (1.0, 0.5))}, "layer_lr: expected none: EF-Train has one rate"),
    ({"parts": 2}, "accumulate: expected 1: EF-Train keeps no gradients, found 2"),
    ({"clip": 0}, "clip: expected None, found 0"), ({"momentum": 0.1}, "momentum: expected 0"),
    ({"decay": 1e-4}, "weight_decay: expected 0"), ({"factors": ((1.0, 1.0),) * 2}, ""),
    ({"parts": 1}, "")])
@pytest.mark.usefixtures("kernel")
def test_what_an_update_cannot_do(change: dict[str, Any], text: str) -> None:
    trainer = made()
    if not text:
        assert trainer.train_step(IMAGES, LABELS, SgdStep(0.1, **change)).correct == 2
        return
    with pytest.raises(BadInput, match=f"hls-csim: {text}"):
        trainer.train_step(IMAGES, LABELS, SgdStep(0.1, **change))
    assert not trainer._network.asked  # type: ignore[attr-defined]


@pytest.mark.parametrize(("loss", "weight", "text"), [
    (np.inf, 0.0, "found loss inf, largest weight "), (4.5, np.nan, "found loss 1.5, "),
    (4.5, np.inf, "found loss 1.5, largest weight inf")])
@pytest.mark.usefixtures("kernel")
def test_steps_end_in_finite_numbers(loss: float, weight: float, text: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = made()
    monkeypatch.setattr(SAID, "loss_sum", loss)
    trainer._network.read()["c"].weight.flat[0] = weight
    with pytest.raises(BadInput, match=f"expected finite numbers, {text}"):
        trainer.train_step(IMAGES, LABELS, SgdStep(0.1))


@pytest.mark.parametrize(("ops", "found"), [
    ((Conv(4, 3), Relu6(), Dense(3)), "Relu6"), ((Conv(4, 3, groups=2), Dense(3)), "2 groups"),
    ((AvgPool(2, 2), Dense(3)), "AvgPool"), ((Conv(4, 3), PadChannels(0, 2), Dense(3)),
                                             "PadChannels")])
@pytest.mark.usefixtures("kernel")
def test_layers_that_the_kernel_lacks(ops: tuple[Any, ...], found: str) -> None:
    text = f"expected a square convolution over all channels, with Relu, found {found}; use another"
    with pytest.raises(BadInput, match=text):
        made(*ops)


@pytest.mark.parametrize(("loss", "found"), [
    (Loss("mse", 0.0, 3), "mse"), (Loss("cross-entropy", 0.1, 3), "label_smoothing=0.1")])
@pytest.mark.usefixtures("kernel")
def test_the_loss_is_the_plain_one(loss: Loss, found: str) -> None:
    with pytest.raises(BadInput, match=f"expected cross-entropy without label smoothing, found "
                                       f"{found}; leave"):
        made(loss=loss)


@pytest.mark.parametrize("part", ["weights", "bias"])
@pytest.mark.usefixtures("kernel")
def test_every_layer_learns_in_every_part(part: str) -> None:
    plan = planned()[0]
    frozen = replace(plan.trainable[0], **{part: False})
    with pytest.raises(BadInput, match="found layer 'c' frozen"):
        made(trainable=(frozen, *plan.trainable[1:]))
    assert made(Conv(3, 3, bias=False), Dense(3)).plan.layers[0].bias is False
