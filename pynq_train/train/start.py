"""What a learner begins with: the network that it was given, with the adapters of a rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.graph import Graph, LayerParams, Model, zoo
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.layers.supported import check_values
from pynq_train.rungs import RUNGS, given
from pynq_train.schedule.specs.trainable import TrainableChoice, plain_choice
from pynq_train.train.checkpoint import Checkpoint
from pynq_train.train.class_names import ClassNames
from pynq_train.train.restore import format_of


@dataclass(frozen=True)
class Start:
    """A network as a learner trains it.

    Attributes:
        graph: the network.
        params: its weights, None for those of a seed.
        form: the images that it was made for.
        sample: typical images, or None.
        trainable: what is trained: no rung with adapters any more.
        names: of its classes, as far as the model has them.
    """

    graph: Graph
    params: Mapping[str, LayerParams] | None
    form: ImageFormat
    sample: Any
    trainable: str | tuple[str, ...]
    names: tuple[str, ...] = ()


def start_of(model: Graph | Model | str, trainable: TrainableChoice, seed: int) -> Start:
    """Return what a learner begins with.

    Args:
        model: a graph, a model, or the name of a network of the zoo.
        trainable: what is trained; a rung with adapters adds these to the network.
        seed: of weights that the model does not have.

    Raises:
        UnknownName: no such network.
        BadInput: it is none of these; or the rung has nothing to adapt.
        UnsupportedModel: the engine does not hold the model's numbers.
    """
    found = zoo.get(model) if isinstance(model, str) else model
    if not isinstance(found, (Graph, Model)):
        raise BadInput("model", expected="a Graph, a Model or the name of a network",
                       found=type(model).__name__,
                       fix="use pynq_train.load() for a saved learner")
    if isinstance(found, Model):
        if isinstance(trainable, str) and trainable == "all":
            trainable = found.trainable
        check_values(f"model {found.graph.name!r}", found.params)
    found, trainable = given(found, trainable, seed)
    if isinstance(found, Graph):
        return Start(found, None, ANY_IMAGES, None, plain_choice(trainable))
    return Start(found.graph, found.params, found.input_format, found.sample,
                 plain_choice(trainable), found.class_names)


def is_rung(trainable: Any) -> bool:
    """Return whether what is trained is a rung with adapters, which needs another network."""
    return isinstance(trainable, str) and trainable in RUNGS


def begun_anew(saved: Checkpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a learner that begins with the weights of a checkpoint.

    Momentum, exponents and counters are not those of the checkpoint; its images, names of classes
    and options are.

    Args:
        saved: the checkpoint.
        options: of the learner.

    Raises:
        KeyError, TypeError, ValueError: the training state is malformed.
    """
    form = format_of(saved.state, saved.graph.input_shape[0])
    names = ClassNames.from_state(saved.state, saved.graph.classes).names
    params = {name: own.params() for name, own in saved.masters.items()}
    # What was measured is a part of the images' format by now.
    return {**options, "model": Model(saved.graph, params, form, class_names=names),
            "normalise": False}
