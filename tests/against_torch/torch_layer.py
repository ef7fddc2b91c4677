"""The same layers, softmax and SGD in PyTorch, float64 on integer values. Needs torch."""

from __future__ import annotations

import numpy as np
import torch
from golden_layer import Array, Case
from torch.nn import functional

TOP = 32767.0


def requantise(total: torch.Tensor, shift: int) -> torch.Tensor:
    """Round half to even and saturate; exact, as the sums fit into a double."""
    return torch.clamp(torch.round(total * 2.0**-shift), -TOP, TOP)


def _integers(values: torch.Tensor) -> Array:
    array = values.detach().numpy()
    assert (array == np.rint(array)).all(), "the reference is not exact"
    return array.astype(np.int64)


def run_layer(case: Case, data: dict[str, Array]) -> dict[str, Array]:
    """y, dx (codes), dw, db (exact sums) by autograd."""
    layer, _ = case.layer()
    x, w, b, dy = (torch.tensor(data[k].astype(np.float64)) for k in ("x", "w", "b", "dy"))
    b = b * 2.0**case.bias_shift if case.bias_shift >= 0 else torch.round(b * 2.0**case.bias_shift)
    for leaf in (x, w, b):
        leaf.requires_grad_()
    if layer.kind.fully_connected:
        total = functional.linear(x.flatten(1), w, b)[:, :, None, None]
    else:
        _, rows, cols = layer.out_shape_before_pool
        # Zeros (or, if negative, rows and columns that no window reads) behind the image.
        bottom = (rows - 1) * layer.stride.rows + layer.kernel.rows - case.rows - layer.pad_top
        right = (cols - 1) * layer.stride.cols + layer.kernel.cols - case.cols - layer.pad_left
        padded = functional.pad(x, (layer.pad_left, right, layer.pad_top, bottom))
        total = functional.conv2d(padded, w, b, stride=case.stride, groups=case.groups)
    codes = requantise(total.detach(), case.shift).requires_grad_()
    y = codes
    if case.relu:
        # Like ReLU6, hardtanh has gradient 0 at both ends.
        y = functional.hardtanh(y, 0.0, min(case.limit, TOP + 1)) if case.limit else (
            functional.relu(y))
    if case.pool:
        y = functional.max_pool2d(y, 2)
    y.backward(dy)
    total.backward(codes.grad)
    assert x.grad is not None and w.grad is not None and b.grad is not None
    result = {"y": _integers(y), "dx": _integers(requantise(x.grad, case.back_shift)),
              "dw": _integers(w.grad)}
    if case.bias:
        result["db"] = _integers(b.grad)
    return result


def run_loss(logits: Array, labels: Array, z_shift: int, mse: bool, smoothing: float
             ) -> tuple[float, int, Array]:
    """Loss sum, correct predictions and gradients of the mean loss times the images."""
    z = torch.tensor(logits.astype(np.float64) * 2.0**-z_shift, requires_grad=True)
    target = torch.tensor(labels)
    if mse:
        loss = functional.mse_loss(z, functional.one_hot(target, z.shape[1]).double()) * len(z)
    else:
        loss = functional.cross_entropy(z, target, reduction="sum", label_smoothing=smoothing)
    loss.backward()
    assert z.grad is not None
    correct = int((z.argmax(1) == target).sum())
    return float(loss.detach()), correct, z.grad.numpy()


def run_softmax(logits: Array, labels: Array, z_shift: int) -> tuple[float, int, Array]:
    """Loss sum (nats), correct predictions and logit gradients (in units of 2**-15)."""
    z = torch.tensor(logits.astype(np.float64) * 2.0**-z_shift, requires_grad=True)
    target = torch.tensor(labels)
    loss = functional.cross_entropy(z, target, reduction="sum")
    loss.backward()
    assert z.grad is not None
    correct = int((z.argmax(1) == target).sum())
    return float(loss.detach()), correct, z.grad.numpy() * 2.0**15


def run_sgd(weights: Array, momenta: Array, gradients: Array, lr: float, momentum: float,
            decay: float, nesterov: bool = False) -> tuple[Array, Array]:
    """Weights and momenta (real numbers) after one step per row of ``gradients``."""
    weight = torch.nn.Parameter(torch.tensor(weights))
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=momentum, weight_decay=decay,
                                nesterov=nesterov)
    optimizer.state[weight]["momentum_buffer"] = torch.tensor(momenta)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    return weight.detach().numpy(), optimizer.state[weight]["momentum_buffer"].numpy()
