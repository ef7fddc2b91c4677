"""Float32 training of a network in NumPy: the twin that fixed-point training is compared with.

Feature maps are kept as ``(image, row, col, channel)`` so that convolution is one matrix product
per chunk of images; arrays that callers pass or get are ``(image, channel, row, col)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from pynq_train.errors import BadInput
from pynq_train.graph.fuse import FusedLayer
from pynq_train.graph.init import FloatArray, LayerParams, check_params

Labels = npt.NDArray[np.int64]

_CHUNK_VALUES = 1 << 19
"""Values of the unfolded input per matrix product: 2 MB, so that it stays in the cache."""


@dataclass(frozen=True)
class StepResult:
    """Mean loss and number of right answers of one training step, before its update."""

    loss: float
    correct: int
    images: int


@dataclass
class _Trace:
    """What the backward pass of one layer needs from its forward pass."""

    x: FloatArray
    out: FloatArray
    argmax: npt.NDArray[np.uint8] | None


class FloatTrainer:
    """Forward, backward and SGD with momentum over fused layers.

    Update: ``v = momentum * v + g + weight_decay * w; w -= lr * v``, with g the gradient of the
    mean softmax cross-entropy; weight decay is not applied to biases.
    """

    def __init__(
        self,
        layers: Sequence[FusedLayer],
        params: dict[str, LayerParams],
        lr: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        check_params(layers, params)
        self.layers = tuple(layers)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self._weights = {n: p.weight.astype(np.float32) for n, p in params.items()}
        self._biases = {n: p.bias.astype(np.float32) for n, p in params.items()
                        if p.bias is not None}
        self._weight_v = {n: np.zeros_like(w) for n, w in self._weights.items()}
        self._bias_v = {n: np.zeros_like(b) for n, b in self._biases.items()}

    @property
    def params(self) -> dict[str, LayerParams]:
        """Copies of the present parameters by layer name."""
        return {name: LayerParams(w.copy(), self._biases[name].copy()
                                  if name in self._biases else None)
                for name, w in self._weights.items()}

    def logits(self, x: npt.ArrayLike) -> FloatArray:
        """Return ``(images, classes)`` for images ``(images, channels, rows, cols)``."""
        return self._forward(self._check(x))[0]

    def gradients(
        self, x: npt.ArrayLike, labels: npt.ArrayLike
    ) -> tuple[StepResult, dict[str, LayerParams]]:
        """Return loss, right answers and the gradient of the mean loss by layer name."""
        images = self._check(x)
        y = np.asarray(labels, dtype=np.int64)
        if y.shape != (len(images),):
            raise BadInput("labels", expected=f"shape ({len(images)},)", found=y.shape)
        logits, traces = self._forward(images, keep=True)
        losses, grad = _softmax_loss(logits, y)
        grads = self._backward(traces, grad)
        correct = int((logits.argmax(axis=1) == y).sum())
        return StepResult(float(losses.mean()), correct, len(y)), grads

    def step(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, lr: float | None = None,
        factors: Mapping[str, tuple[float | None, float | None]] | None = None
    ) -> StepResult:
        """Run one training step on a batch and return its loss; ``lr`` overrides the default.

        ``factors``: by layer name, factors of the rate of weights and bias; None for what is
        frozen.
        """
        result, grads = self.gradients(x, labels)
        momentum, decay = np.float32(self.momentum), np.float32(self.weight_decay)
        for name, grad in grads.items():
            of_weight, of_bias = factors[name] if factors is not None else (1.0, 1.0)
            peak = self.lr if lr is None else lr
            if of_weight is not None:
                velocity, weight = self._weight_v[name], self._weights[name]
                velocity *= momentum
                velocity += grad.weight
                if decay:
                    velocity += decay * weight
                weight -= np.float32(peak * of_weight) * velocity
            if grad.bias is not None and of_bias is not None:
                velocity = self._bias_v[name]
                velocity *= momentum
                velocity += grad.bias
                self._biases[name] -= np.float32(peak * of_bias) * velocity
        return result

    def evaluate(
        self, x: npt.ArrayLike, labels: npt.ArrayLike, batch: int = 256
    ) -> tuple[float, float]:
        """Return mean loss and accuracy (0..1) over all images."""
        images, y = np.asarray(x), np.asarray(labels, dtype=np.int64)
        if len(images) == 0 or y.shape != (len(images),):
            raise BadInput("evaluation data", expected="one label per image, at least one image",
                           found=f"{len(images)} images, labels of shape {y.shape}")
        loss, correct = 0.0, 0
        for begin in range(0, len(images), batch):
            part = y[begin : begin + batch]
            logits = self.logits(images[begin : begin + batch])
            loss += float(_softmax_loss(logits, part)[0].sum(dtype=np.float64))
            correct += int((logits.argmax(axis=1) == part).sum())
        return loss / len(images), correct / len(images)

    def _check(self, x: npt.ArrayLike) -> FloatArray:
        images = np.asarray(x, dtype=np.float32)
        if images.ndim != 4 or images.shape[1:] != self.layers[0].in_shape or len(images) == 0:
            raise BadInput("images", expected=f"shape (n, {_dims(self.layers[0].in_shape)})",
                           found=images.shape)
        return images

    def _forward(
        self, images: FloatArray, keep: bool = False
    ) -> tuple[FloatArray, list[_Trace]]:
        x = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        traces: list[_Trace] = []
        for layer in self.layers:
            out = self._linear(layer, x)
            argmax = None
            if layer.pool:
                out, argmax = _max_pool(out, keep)
            if layer.relu:
                np.maximum(out, 0, out=out)
            if keep:
                traces.append(_Trace(x, out, argmax))
            x = out
        return x.reshape(len(images), -1), traces

    def _linear(self, layer: FusedLayer, x: FloatArray) -> FloatArray:
        weight = self._weights[layer.name]
        if layer.kind == "dense":
            out = _flat(x) @ weight.T
        else:
            out = _correlate(_pad(x, layer), _matrix(weight), layer.kernel, layer.stride,
                             layer.out_shape_before_pool)
        if layer.bias:
            out += self._biases[layer.name]
        channels, rows, cols = layer.out_shape_before_pool
        return out.reshape(len(x), rows, cols, channels)

    def _backward(self, traces: list[_Trace], grad: FloatArray) -> dict[str, LayerParams]:
        grads: dict[str, LayerParams] = {}
        g: FloatArray = grad
        for index in range(len(self.layers) - 1, -1, -1):
            layer, trace = self.layers[index], traces[index]
            g = g.reshape(trace.out.shape)
            if layer.relu:
                g = g * (trace.out > 0)
            if trace.argmax is not None:
                g = _max_pool_backward(g, trace.argmax, layer)
            bias = g.sum(axis=(0, 1, 2)) if layer.bias else None
            if layer.kind == "dense":
                flat = g.reshape(len(g), -1)
                weight = flat.T @ _flat(trace.x)
                if index:
                    g = _unflat(flat @ self._weights[layer.name], layer)
            else:
                weight = _weight_gradient(_pad(trace.x, layer), g, layer)
                if index:
                    g = _input_gradient(g, self._weights[layer.name], layer)
            grads[layer.name] = LayerParams(weight, bias)
        return dict(reversed(grads.items()))


def _dims(shape: tuple[int, ...]) -> str:
    return ", ".join(str(v) for v in shape)


def _flat(x: FloatArray) -> FloatArray:
    """(image, row, col, channel) -> (image, channel * row * col)."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)).reshape(len(x), -1)


def _unflat(x: FloatArray, layer: FusedLayer) -> FloatArray:
    return np.ascontiguousarray(x.reshape(len(x), *layer.in_shape).transpose(0, 2, 3, 1))


def _matrix(weight: FloatArray) -> FloatArray:
    """W[m, n, kr, kc] -> (kr * kc * n, m), the order of unfolded pixels."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, len(weight))


def _pad(x: FloatArray, layer: FusedLayer) -> FloatArray:
    pads = ((0, 0), (layer.pad_top, layer.pad_bottom), (layer.pad_left, layer.pad_right), (0, 0))
    return np.pad(x, pads) if any(p != (0, 0) for p in pads) else x


def _unfold(x: FloatArray, kernel: int, stride: int, rows: int, cols: int) -> FloatArray:
    """Padded (image, row, col, channel) -> (image * rows * cols, kernel * kernel * channel)."""
    images, _, _, channels = x.shape
    si, sr, sc, se = x.strides
    windows = as_strided(
        x,
        shape=(images, rows, cols, kernel, kernel * channels),
        strides=(si, sr * stride, sc * stride, sr, se),
        writeable=False,
    )
    return windows.reshape(images * rows * cols, kernel * kernel * channels)


def _chunks(images: int, values_per_image: int) -> list[slice]:
    size = max(1, _CHUNK_VALUES // max(1, values_per_image))
    return [slice(begin, min(begin + size, images)) for begin in range(0, images, size)]


def _correlate(
    x: FloatArray, matrix: FloatArray, kernel: int, stride: int, out_shape: tuple[int, int, int]
) -> FloatArray:
    _, rows, cols = out_shape
    out = np.empty((len(x), rows * cols, matrix.shape[1]), dtype=np.float32)
    for part in _chunks(len(x), rows * cols * len(matrix)):
        unfolded = _unfold(x[part], kernel, stride, rows, cols)
        np.matmul(unfolded, matrix, out=out[part].reshape(-1, matrix.shape[1]))
    return out


def _weight_gradient(x: FloatArray, g: FloatArray, layer: FusedLayer) -> FloatArray:
    images, rows, cols, channels = g.shape
    total = np.zeros((layer.fan_in, channels), dtype=np.float32)
    for part in _chunks(images, rows * cols * layer.fan_in):
        unfolded = _unfold(x[part], layer.kernel, layer.stride, rows, cols)
        total += unfolded.T @ g[part].reshape(-1, channels)
    shaped = total.reshape(layer.kernel, layer.kernel, layer.in_shape[0], channels)
    return np.ascontiguousarray(shaped.transpose(3, 2, 0, 1))


def _input_gradient(g: FloatArray, weight: FloatArray, layer: FusedLayer) -> FloatArray:
    """Correlate the zero-stuffed gradient with the weights turned by 180 degrees."""
    images, rows, cols, channels = g.shape
    n, height, width = layer.in_shape
    k, s = layer.kernel, layer.stride
    spread = np.zeros((images, height + k - 1, width + k - 1, channels), dtype=np.float32)
    top, left = k - 1 - layer.pad_top, k - 1 - layer.pad_left  # padding < kernel, so not negative
    spread[:, top : top + s * (rows - 1) + 1 : s, left : left + s * (cols - 1) + 1 : s] = g
    turned = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    out = _correlate(spread, _matrix(turned), k, 1, layer.in_shape)
    return out.reshape(images, height, width, n)


def _max_pool(
    y: FloatArray, keep: bool
) -> tuple[FloatArray, npt.NDArray[np.uint8] | None]:
    """Return the maxima of 2x2 windows and, if ``keep``, the index 0..3 of the first maximum."""
    rows, cols = y.shape[1] // 2 * 2, y.shape[2] // 2 * 2
    a, b = y[:, 0:rows:2, 0:cols:2], y[:, 0:rows:2, 1:cols:2]
    c, d = y[:, 1:rows:2, 0:cols:2], y[:, 1:rows:2, 1:cols:2]
    top, bottom = np.maximum(a, b), np.maximum(c, d)
    out = np.maximum(top, bottom)
    if not keep:
        return out, None
    lower = bottom > top
    index = np.where(lower, np.uint8(2) + (d > c), b > a).astype(np.uint8)
    return out, index


def _max_pool_backward(
    g: FloatArray, index: npt.NDArray[np.uint8], layer: FusedLayer
) -> FloatArray:
    channels, rows, cols = layer.out_shape_before_pool
    out = np.zeros((len(g), rows, cols, channels), dtype=np.float32)
    for place in range(4):
        target = out[:, place // 2 : rows // 2 * 2 : 2, place % 2 : cols // 2 * 2 : 2]
        np.multiply(g, index == place, out=target)
    return out


def _softmax_loss(logits: FloatArray, labels: Labels) -> tuple[FloatArray, FloatArray]:
    """Return the loss per image and the gradient of the mean loss, (images, classes)."""
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise BadInput("labels", expected=f"0..{logits.shape[1] - 1}",
                       found=f"{labels.min()}..{labels.max()}")
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(axis=1, keepdims=True)
    losses = np.log(sums[:, 0]) - shifted[np.arange(len(labels)), labels]
    grad = exponentials / sums
    grad[np.arange(len(labels)), labels] -= 1
    grad /= np.float32(len(labels))
    return losses, grad
