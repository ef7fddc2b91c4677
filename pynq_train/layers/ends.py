"""The end of a network: which loss can stand behind which layer."""

from __future__ import annotations

from collections.abc import Sequence

from pynq_train.errors import UnsupportedModel
from pynq_train.layers.fuse import FusedLayer


def check_classifier(layers: Sequence[FusedLayer]) -> None:
    """Check that a network ends with logits of at least two classes, with nothing behind them.

    They may be those of an image (a Dense layer, a convolution with 1x1 output, a mean of maps) or
    of each pixel of a map.

    Args:
        layers: the network.

    Raises:
        UnsupportedModel: it does not; the text says what to do.
    """
    last = layers[-1]
    if not is_bare(last):
        raise UnsupportedModel(
            f"the last layer {last.name!r} must yield the logits", expected="nothing behind it",
            found=_behind(last),
            fix="remove it: softmax and loss follow by themselves; or train the outputs as they "
                "are: loss='mse' with targets that are numbers")
    if last.out_channels < 2:
        raise UnsupportedModel(
            f"the last layer {last.name!r}: cross-entropy", expected="at least 2 classes",
            found=last.out_channels,
            fix="say loss='binary-cross-entropy' for one output that is yes or no, loss='mse' or "
                "'huber' for a number")


def check_bare(layers: Sequence[FusedLayer]) -> None:
    """Check that a network ends with outputs whose sigmoids are probabilities.

    Raises:
        UnsupportedModel: something stands behind them.
    """
    last = layers[-1]
    if not is_bare(last):
        raise UnsupportedModel(
            f"the last layer {last.name!r}: binary cross-entropy", expected="nothing behind it",
            found=_behind(last),
            fix="remove it: the sigmoid follows by itself")


def is_classifier(layers: Sequence[FusedLayer]) -> bool:
    """Return whether a network ends with logits of at least two classes."""
    return is_bare(layers[-1]) and layers[-1].out_channels > 1


def is_bare(last: FusedLayer) -> bool:
    """Return whether nothing stands behind the sums of a layer."""
    return not (last.activation.has_flags or last.pool or last.kind.windowed or last.curve)


def _behind(last: FusedLayer) -> str:
    """Return what stands there, for messages."""
    if last.curve is not None:
        return last.curve.kind
    return str(last.activation) if last.activation.has_flags else "max pooling"


def read_by_softmax(layers: Sequence[FusedLayer]) -> bool:
    """Return whether the softmax unit can read what a network ends with: a value per class and
    image, which stand as those of a dense layer do.
    """
    last = layers[-1]
    if not is_classifier(layers) or last.out_shape[1:] != (1, 1):
        return False
    return (last.on_array or _is_vector(layers, len(layers) - 1))


def _is_vector(layers: Sequence[FusedLayer], at: int) -> bool:
    """Return whether the output of a layer, -1 for the images, stands as a dense layer's does."""
    if at < 0:
        return False
    one = layers[at]
    return one.kind.to_vector or (one.kind.wordwise and _is_vector(layers, one.sources[0]))
