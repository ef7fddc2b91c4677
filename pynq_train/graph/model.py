"""A network with its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.graph.class_names import checked_names
from pynq_train.graph.graph import Graph
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat, checked_format
from pynq_train.graph.params import LayerParams, check_graph_params, graph_param_specs


@dataclass(frozen=True)
class Model:
    """A verified graph and float32 parameters that fit it, for example imported ones.

    Attributes:
        graph: the network.
        params: weights, biases and running statistics by layer name.
        input_format: the images that it was made for.
        frozen: parameters that a learner leaves as they are unless they are named for it
            (``trainable="*"``): ``conv1.weight``.
        sample: typical images, as users have them: a learner takes the ranges of its feature maps
            from them (``Learner.calibrate``) before it first evaluates. None for none.
        class_names: of the first outputs on, as far as they are known: a learner takes them.

    Raises:
        BadInput: the parameters or names do not fit the graph, or ``frozen`` names something else.
    """

    graph: Graph
    params: Mapping[str, LayerParams]
    input_format: ImageFormat = ANY_IMAGES
    frozen: frozenset[str] = frozenset()
    sample: Any = field(default=None, compare=False, repr=False)
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the parameters."""
        if not isinstance(self.graph, Graph):
            raise BadInput("graph", expected="a Graph", found=type(self.graph).__name__)
        check_graph_params(self.graph, self.params)
        checked_format(self.input_format)
        if not isinstance(self.frozen, (set, frozenset)) or not all(
                isinstance(name, str) for name in self.frozen):
            raise BadInput("frozen", expected="a frozenset of names", found=repr(self.frozen)[:80])
        object.__setattr__(self, "class_names", checked_names(self.class_names, self.graph.classes))
        unknown = sorted(self.frozen - self._parts())
        if unknown:
            raise BadInput("frozen", expected="names of parameters: LAYER.weight, LAYER.bias",
                           found=", ".join(unknown))

    def with_images(self, *, input_range: Sequence[float] | None = None,
                    mean: float | Sequence[float] | None = None,
                    std: float | Sequence[float] | None = None, layout: str | None = None,
                    calibrate: Any = None) -> Model:
        """Return this model with what a user says of its images; None leaves a part as it is.

        Args:
            input_range: lowest and highest value, such as ``(0, 255)``.
            mean, std: a number or one per channel: the network sees ``(image - mean) / std``.
            layout: ``channels last`` or ``channels first``, where sizes leave a choice.
            calibrate: typical images, for ``sample``.

        Raises:
            BadInput: numbers that are none, or not as many as channels; another layout.
        """
        form = self.input_format.with_given(self.graph.input_shape[0], input_range, mean, std,
                                            layout)
        return replace(self, input_format=form,
                       sample=self.sample if calibrate is None else calibrate)

    def _parts(self) -> set[str]:
        """Return the names of all parameters that can learn."""
        return {f"{spec.name}.{part}" for spec in graph_param_specs(self.graph)
                for part in (("weight", "bias") if spec.bias else ("weight",))}

    @property
    def trainable(self) -> str | tuple[str, ...]:
        """What learns: ``all``, or names of layers and parameters."""
        learning = self._parts() - self.frozen
        if not self.frozen or not learning:
            return "all"
        names: list[str] = []
        for spec in graph_param_specs(self.graph):
            own = [part for part in (f"{spec.name}.weight", f"{spec.name}.bias")
                   if part in self._parts()]
            chosen = [part for part in own if part in learning]
            names += [spec.name] if chosen == own else chosen
        return tuple(names)

    def __repr__(self) -> str:
        """One line: the parameters themselves are too many to print."""
        count = sum(spec.learned for spec in graph_param_specs(self.graph))
        frozen = f", frozen: {len(self.frozen)} tensors" if self.frozen else ""
        channels, rows, cols = self.graph.input_shape
        return (f"<Model {self.graph.name}: input {channels}x{rows}x{cols}, "
                f"{len(self.graph.ops)} operations, {count} parameters{frozen}, "
                f"{self.input_format}>")
