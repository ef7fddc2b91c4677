"""Golden against PyTorch: layers bit for bit, softmax and SGD within their stated bounds."""

from __future__ import annotations

from dataclasses import replace

import cases
import golden_layer
import numpy as np
import pytest
from reference_models.lazy import Lazy

pytestmark = pytest.mark.oracle

torch_layer = Lazy("torch_layer")


@pytest.mark.parametrize("kind", (*cases.KINDS, *cases.GROUPED))
def test_layers(kind: str) -> None:
    """Forward values, input, weight and bias gradients of random layers are equal."""
    for seed in range(12):
        case = golden_layer.random_case(kind, seed)
        data = case.data()
        want, got = torch_layer.run_layer(case, data), golden_layer.run_layer(case, data)
        assert want.keys() == got.keys()
        for name, values in want.items():
            np.testing.assert_array_equal(got[name], values.reshape(got[name].shape),
                                          f"{name} of {case}")


@pytest.mark.parametrize("seed", range(60))
def test_softmax(seed: int) -> None:
    """Loss and logit gradients keep the stated bounds, correct predictions are equal."""
    logits, labels, z_shift = cases.softmax_case(seed)
    loss, correct, gradient = golden_layer.run_softmax(logits, labels, z_shift)
    want_loss, want_correct, want_gradient = torch_layer.run_softmax(logits, labels, z_shift)
    assert correct == want_correct
    assert abs(loss - want_loss) <= cases.loss_bound(logits, z_shift)
    assert np.abs(gradient - want_gradient).max() <= cases.GRADIENT_CODES


@pytest.mark.parametrize("seed", range(60))
def test_losses(seed: int) -> None:
    """Label smoothing and squared error, and their gradients, keep the stated bounds."""
    logits, labels, z_shift, kind = cases.loss_case(seed)
    loss, correct, codes = golden_layer.run_softmax(logits, labels, z_shift, kind)
    want_loss, want_correct, want = torch_layer.run_loss(logits, labels, z_shift, kind.mse,
                                                         kind.smoothing)
    assert correct == want_correct
    unit = 2.0 ** kind.gradient_exponent(1, -z_shift) * kind.fold(1)
    if kind.mse:  # exact but for one rounding, where logits are finer than the gradient
        assert np.abs(codes * unit - want).max() <= 0.5 * unit * (1 + 1e-9)
        fields = kind.fields(-z_shift)
        # d(e * e) = 2 * e * d, with e the error and d at most half a unit of the codes.
        error = np.abs(want).max() * kind.classes / 2 + 1
        bound = (logits.size * error * 2.0 ** (fields["m_shift"] - z_shift) / kind.classes
                 if fields["m_shift"] else 1e-9 * want_loss)
        assert abs(loss - want_loss) <= bound
    else:
        assert abs(loss - want_loss) <= cases.smoothed_bound(logits, z_shift, kind)
        # Half a unit of 2**-16 for a target; for the label's that of all the others.
        targets = kind.classes * 2.0**-17
        assert np.abs(codes * unit - want).max() <= cases.GRADIENT_CODES * unit + targets


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_sgd(seed: int, nesterov: bool) -> None:
    """Six steps with momentum and weight decay stay within the sum of their roundings."""
    masters, sums, fields, real = cases.sgd_case(seed)
    if nesterov and not real.momentum:
        real = replace(real, momentum=0.5)
        fields["momentum"] = 1 << 15
    real, fields = replace(real, nesterov=nesterov), {**fields, "nesterov": int(nesterov)}
    weights, momenta = masters[:, 0] * 2.0**-28, masters[:, 1] * 2.0**-24
    gradients = sums * 2.0 ** (16 - fields["g_shift"] - 24)
    for step in sums:
        masters, copy = golden_layer.run_update(masters, step, fields)
    want_w, want_v = torch_layer.run_sgd(weights, momenta, gradients, real.lr, real.momentum,
                                         real.decay, nesterov)
    assert np.abs(want_w).max() < 8 and np.abs(want_v).max() < 128, "the case saturates"
    weight_bound, momentum_bound = cases.sgd_bounds(len(sums), real)
    assert np.abs(masters[:, 0] * 2.0**-28 - want_w).max() <= weight_bound
    if real.momentum:  # without it PyTorch keeps no buffer
        assert np.abs(masters[:, 1] * 2.0**-24 - want_v).max() <= momentum_bound
    want_copy = np.clip(np.rint(masters[:, 0] * 2.0 ** -fields["w_shift"]), -32767, 32767)
    np.testing.assert_array_equal(copy, want_copy)
