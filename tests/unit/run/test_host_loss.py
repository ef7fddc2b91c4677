"""Losses that the host computes: against PyTorch, and against the softmax unit bit for bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pynq_train.backends.golden.scalar import cross_entropy, squared_error
from pynq_train.graph.float_loss import FloatLoss
from pynq_train.quant.loss import BINARY, CROSS_ENTROPY, HUBER, LOSSES, MSE, Loss
from pynq_train.run.host_loss import HostResult, host_loss, of_targets

EXPONENT = -12
SHAPE = 5, 3, 4, 6


def outputs(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Return codes of outputs of about 0 to 4 in magnitude."""
    return np.random.default_rng(seed).normal(0, 6000, shape).round().astype(np.int16)


def computed(loss: Loss, codes: np.ndarray, targets: np.ndarray) -> tuple[HostResult, int]:
    """Return the result, and the exponent of its gradient."""
    loss = of_targets(loss, targets)
    exponent = loss.gradient_exponent(len(codes), EXPONENT)
    return host_loss(loss, codes, EXPONENT, targets, exponent), exponent


def targets_of(loss: Loss, seed: int = 1) -> np.ndarray:
    draw = np.random.default_rng(seed)
    if loss.numbers:
        return draw.normal(0, 2, SHAPE).astype(np.float32)
    if loss.kind == BINARY:
        found = draw.uniform(0, 1, SHAPE).astype(np.float32)
        found[draw.uniform(size=SHAPE) < 0.3] = 1
    else:
        found = draw.integers(0, SHAPE[1], (SHAPE[0], *SHAPE[2:]))
    if loss.ignore is not None:
        found[draw.uniform(size=found.shape) < 0.3] = loss.ignore
    return found


WEIGHTS = (0.5, 2.0, 0.0)
MANY = [
    Loss(CROSS_ENTROPY, classes=3, positions=24),
    Loss(CROSS_ENTROPY, 0.2, classes=3, positions=24),
    Loss(CROSS_ENTROPY, classes=3, positions=24, ignore=255),
    Loss(CROSS_ENTROPY, classes=3, positions=24, weights=WEIGHTS, ignore=-100),
    Loss(BINARY, classes=3, positions=24),
    Loss(BINARY, classes=3, positions=24, weights=WEIGHTS, ignore=-1),
    Loss(MSE, classes=3, positions=24, values=True),
    Loss(HUBER, classes=3, positions=24, delta=0.7),
    Loss(HUBER, classes=3, positions=24, delta=50.0),
]


@pytest.mark.parametrize("loss", MANY, ids=lambda one: f"{one.kind}-{one.ignore}-{one.delta}")
def test_as_pytorch_has_it(loss: Loss) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn.functional
    codes, targets = outputs(), targets_of(loss)
    z = torch.tensor(np.ldexp(codes.astype(np.float64), EXPONENT), requires_grad=True)
    weight = torch.tensor(loss.weights, dtype=torch.float64) if loss.weights else None
    if loss.kind == CROSS_ENTROPY:
        wanted = nn.cross_entropy(z, torch.tensor(targets), weight, label_smoothing=loss.smoothing,
                                  ignore_index=-1000 if loss.ignore is None else loss.ignore)
    elif loss.kind == BINARY:
        counted = torch.tensor(targets != loss.ignore)
        each = nn.binary_cross_entropy_with_logits(
            z, torch.tensor(targets.astype(np.float64)), reduction="none",
            weight=None if weight is None else weight[:, None, None])
        wanted = each[counted].mean()
    else:
        float_targets = torch.tensor(targets.astype(np.float64))
        wanted = (nn.mse_loss(z, float_targets) if loss.kind == MSE
                  else nn.huber_loss(z, float_targets, delta=loss.delta))
    wanted.backward()
    found, exponent = computed(loss, codes, targets)
    assert found.loss == pytest.approx(wanted.item(), rel=1e-4)
    gradient = z.grad.numpy()
    # Half a code, and what the tables and 16 bits of a probability are off by.
    room = math.ldexp(0.51, exponent) + 1e-4 * np.abs(gradient).max()
    assert np.abs(np.ldexp(found.gradient.astype(float), exponent) - gradient).max() <= room
    # The codes use their bits: the exponent is not a wide one.
    assert np.abs(found.gradient).max() > 1 << 11
    # So does the float reference.
    float_loss, float_gradient, *_ = FloatLoss(
        loss.kind, loss.smoothing, loss.weights, loss.ignore, loss.delta)(
            np.ldexp(codes.astype(np.float32), EXPONENT), targets)
    assert float_loss == pytest.approx(wanted.item(), rel=1e-5)
    np.testing.assert_allclose(float_gradient, gradient, atol=1e-6)


def test_a_label_for_each_image_has_the_bits_of_the_softmax_unit() -> None:
    images, classes = 8, 5
    codes = outputs(3, (images, classes, 1, 1))
    labels = np.random.default_rng(4).integers(0, classes, images)
    hit = np.arange(classes) == labels[:, None]
    for smoothing in (0.0, 0.1):
        unit = Loss(CROSS_ENTROPY, smoothing, classes)
        losses, gradient = cross_entropy(codes[:, :, 0, 0].astype(np.int64), hit,
                                         unit.fields(EXPONENT))
        found, exponent = computed(replace(unit, aside=True), codes, labels[:, None, None])
        assert exponent == unit.gradient_exponent(images, EXPONENT)
        np.testing.assert_array_equal(found.gradient[:, :, 0, 0], gradient)
        assert found.loss == pytest.approx(int(losses.sum()) * unit.unit(EXPONENT) / images,
                                           rel=1e-12)


def test_squared_error_of_labels_is_that_of_the_softmax_unit() -> None:
    images, classes = 8, 4
    codes = outputs(5, (images, classes, 1, 1))
    labels = np.random.default_rng(6).integers(0, classes, images)
    unit = Loss(MSE, classes=classes)
    losses, _ = squared_error(codes[:, :, 0, 0].astype(np.int64),
                              np.arange(classes) == labels[:, None], unit.fields(EXPONENT))
    found, exponent = computed(replace(unit, aside=True), codes, labels[:, None, None])
    assert found.loss == pytest.approx(int(losses.sum()) * unit.unit(EXPONENT) / images, rel=1e-4)
    assert found.answers == images and 0 < found.correct < images
    error = np.ldexp(codes[:, :, 0, 0].astype(float), EXPONENT) - (
        np.arange(classes) == labels[:, None])
    np.testing.assert_allclose(np.ldexp(found.gradient[:, :, 0, 0].astype(float), exponent),
                               2 * error / error.size, atol=math.ldexp(0.51, exponent))


def test_what_does_not_count_has_no_gradient() -> None:
    loss = Loss(CROSS_ENTROPY, classes=3, positions=24, ignore=255)
    targets = np.full((5, 4, 6), 255)
    found, _ = computed(loss, outputs(), targets)
    assert (found.loss, found.weight, found.answers) == (0.0, 0.0, 0)
    assert not found.gradient.any()
    targets[2, 1, 3] = 1
    found, exponent = computed(loss, outputs(), targets)
    assert found.answers == 1 and np.argwhere(found.gradient.any(axis=1)).tolist() == [[2, 1, 3]]
    assert exponent == -15  # the mean over one pixel


def test_right_answers_are_counted_for_pixels_and_for_outputs() -> None:
    codes = outputs()
    labels = codes.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 3
    found, _ = computed(Loss(CROSS_ENTROPY, classes=3, positions=24), codes, labels)
    assert (found.correct, found.answers) == (96, 120)
    wanted = (codes > 0).astype(np.float32)
    wanted[:, 0] = 1 - wanted[:, 0]
    found, _ = computed(Loss(BINARY, classes=3, positions=24), codes, wanted)
    assert (found.correct, found.answers) == (240, 360)


def test_differences_and_sums_that_64_bits_do_not_hold() -> None:
    shape = 4, 3, 64, 64
    codes = np.full(shape, 32767, np.int16)
    targets = np.full(shape, -8.0, np.float32)
    loss = Loss(MSE, classes=3, positions=4096, values=True)
    found, exponent = computed(loss, codes, targets)
    error = math.ldexp(32767, EXPONENT) + 8
    assert found.loss == pytest.approx(error * error, rel=1e-6)
    assert (found.gradient == 32767).all()  # saturated: the exponent has room for either alone
    found, exponent = computed(loss, codes, np.full(shape, 7.0, np.float32))
    assert np.ldexp(float(found.gradient[0, 0, 0, 0]), exponent) == pytest.approx(
        2 * (math.ldexp(32767, EXPONENT) - 7) / codes.size, rel=1e-3)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_start_is_that_of_full_mini_batches(kind: str) -> None:
    loss = Loss(kind, classes=3, positions=24, values=kind == MSE)
    assert loss.start(5).top == of_targets(loss, targets_of(loss)).top
    assert Loss().start(8) == Loss()  # the softmax unit's knows nothing of it
