"""What is trainable: the layers and parameters that a training step updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pynq_train.errors import BadInput
from pynq_train.layers.fuse import FusedLayer

TrainableChoice = str | Sequence[str]
"""One of :data:`KEYWORDS`, or names and patterns of layers and parameters."""
KEYWORDS = ("all", "last-layer", "last-block", "bias", "norm")
"""Choices that mean something in every network; see :func:`select`."""
_PARTS = ("weight", "bias")


@dataclass(frozen=True)
class Trainable:
    """Which parameters of a layer a training step updates.

    Attributes:
        weights: its weights (gamma of a normalisation).
        bias: its bias (beta); False for a layer that has none.
    """

    weights: bool = True
    bias: bool = True

    @property
    def anything(self) -> bool:
        """Whether any parameter of the layer is trained."""
        return self.weights or self.bias


def plain_choice(choice: TrainableChoice) -> str | tuple[str, ...]:
    """Return a choice as a keyword or pattern, or as a tuple of patterns.

    Raises:
        BadInput: it is neither, or an empty list.
    """
    if isinstance(choice, str):
        return choice
    try:
        patterns = tuple(choice)
    except TypeError:  # no list; an array without axes says so only when it is asked
        patterns = ()
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise BadInput("trainable", expected="a keyword or a list of layer names",
                       found=repr(choice))
    return patterns


def select(layers: Sequence[FusedLayer], choice: TrainableChoice) -> tuple[Trainable, ...]:
    """Return what of each layer is trainable.

    ``last-layer`` is the classifier. ``last-block`` is the last convolution and everything behind
    it; in a network of dense layers alone the last two. ``bias`` is the biases of all layers,
    ``norm`` gamma and beta of all normalisations. A pattern (``fnmatch``) names layers, ``conv*``,
    or parameters, ``conv1.weight``, ``*.bias``.

    Args:
        layers: the fused layers, first to last.
        choice: a keyword, a pattern, or a list of patterns.

    Raises:
        BadInput: a pattern that matches nothing, or nothing would be trained.
    """
    choice = plain_choice(choice)
    if isinstance(choice, str):
        norms = tuple(layer.name for layer in layers if layer.kind.has_running or layer.scale)
        if choice == "norm" and not norms:
            raise BadInput("trainable='norm'", expected="a network with normalisation layers",
                           found=f"only {_names(layers)}",
                           fix="use trainable='bias' or trainable='last-layer'")
        if choice == "bias" and not any(layer.bias for layer in layers):
            raise BadInput("trainable='bias'", expected="a layer with a bias", found="none",
                           fix="use trainable='last-layer'")
        first = {"all": 0, "last-layer": _classifier(layers), "last-block": _last_block(layers)}
        if choice in first:
            return all_from(layers, first[choice])
        patterns: tuple[str, ...] = ("*.bias",) if choice == "bias" else (choice,)
        if choice == "norm":
            patterns = norms
    else:
        patterns = choice
    parameters = {(layer.name, part) for layer in layers for part in _PARTS
                  if layer.bias or (part == "weight" and layer.has_parameters)}
    chosen: set[tuple[str, str]] = set()
    for pattern in patterns:
        found = {(name, part) for name, part in parameters
                 if fnmatchcase(name, pattern) or fnmatchcase(f"{name}.{part}", pattern)}
        if not found:
            raise BadInput(f"trainable: nothing is called {pattern!r}",
                           expected=f"one of {', '.join(KEYWORDS)}, or a name or pattern of "
                           f"{_names(layers)} (parameters: NAME.weight, NAME.bias)",
                           fix=f"give the keyword {pattern!r} by itself, not in a list"
                           if pattern in KEYWORDS else None)
        chosen |= found
    return tuple(Trainable((layer.name, "weight") in chosen, (layer.name, "bias") in chosen)
                 for layer in layers)


def all_from(layers: Sequence[FusedLayer], train_from: int) -> tuple[Trainable, ...]:
    """Return what is trainable if everything from layer ``train_from`` on is."""
    return tuple(Trainable(i >= train_from and layer.has_parameters, i >= train_from and layer.bias)
                 for i, layer in enumerate(layers))


def first_trainable(trainable: Sequence[Trainable]) -> int:
    """Return the position of the first layer that is trained.

    Raises:
        BadInput: no layer is.
    """
    for index, one in enumerate(trainable):
        if one.anything:
            return index
    raise BadInput("trainable layers", expected="at least one", found="none")


def describe_trainable(layers: Sequence[FusedLayer], trainable: Sequence[Trainable]) -> str:
    """Return names of what is trained, for people: ``conv2, dense1`` or ``conv1.bias, dense1``."""
    words = []
    for layer, one in zip(layers, trainable):
        if one.weights and one.bias == layer.bias:
            words.append(layer.name)
        elif one.anything:
            words.append(f"{layer.name}.{_PARTS[one.bias]}")
    return ", ".join(words)


def _classifier(layers: Sequence[FusedLayer]) -> int:
    """Return the position of the layer that yields the logits, or of the first one of several."""
    last = layers[-1]
    return len(layers) - 1 if last.on_array else min(last.sources)


def _last_block(layers: Sequence[FusedLayer]) -> int:
    """Return the position of the layer with which ``last-block`` begins."""
    convolutions = [i for i, layer in enumerate(layers)
                    if layer.kind.convolves and not layer.average]
    last = len(layers) - 1
    # A convolution that yields the logits itself is the classifier, not a feature layer.
    features = [i for i in convolutions if i < last]
    return features[-1] if features else max(last - 1, 0)


def _names(layers: Sequence[FusedLayer]) -> str:
    """Return the names of all layers that can be named in a choice: those with parameters."""
    return ", ".join(layer.name for layer in layers if layer.has_parameters)
