"""A network under construction by an importer: operations, parameters and everything refused.

An importer walks the foreign network in order of computation, and adds or refuses each node;
:meth:`Draft.finish` returns the model or one error that lists all refused nodes.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pynq_train.errors import BadInput, ModelWarning, UnsupportedModel
from pynq_train.exchange.reshaping import seen_as, shuffled
from pynq_train.exchange.shared_tensors import BIAS, WEIGHT, SharedTensors
from pynq_train.exchange.values import (
    BATCH,
    NO_PADS,
    Value,
    channels_first,
    per_channel,
    text_of,
)
from pynq_train.exchange.windows import (
    OwnPadding,
    Pads,
    Refused,
    averaged,
    conv_padding,
    dilated_window,
    in_steps,
    pool_maxima,
)
from pynq_train.graph.graph import Graph
from pynq_train.graph.image_format import CHANNELS_FIRST, CHANNELS_LAST, ImageFormat
from pynq_train.graph.model import Model
from pynq_train.graph.ops import (
    Activate,
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    ConvTranspose,
    Curve,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GroupNorm,
    MaxPool,
    MaxPool2x2,
    Op,
    PickChannels,
    Upsample,
)
from pynq_train.graph.params import FloatArray, LayerParams, float32
from pynq_train.graph.shapes import Shape
from pynq_train.graph.wiring import INPUT
from pynq_train.layers.supported import value_problems, with_room

__all__ = ["BATCH", "Draft", "Pads", "Refused", "Value"]

_ANY_LAYOUT = (Activate, Curve, Dropout, Add)
"""Operations that do the same to every value, in whichever order the values stand."""
_BY_CHANNEL = (BatchNorm, Concat, GroupNorm, PickChannels)
"""Operations that do the same to all pixels of a channel, whether they have rows or not."""
_KEEPS_SIGN = (MaxPool, MaxPool2x2, AvgPool, GlobalAvgPool, Upsample, Flatten, Dropout, Concat,
               PickChannels, Add)
"""Operations without values below zero where none of their inputs has any."""
_PARTS = (WEIGHT, BIAS)


def flattens_input(graph: Graph) -> bool:
    """Return whether all that reads the images of a graph flattens them."""
    readers = [op for at, op in enumerate(graph.ops)
               if INPUT in op.inputs or (at == 0 and not op.inputs)]
    return bool(readers) and all(isinstance(op, Flatten) for op in readers)


class Draft:
    """Collects operations of a network that reads images of ``input_shape``, or vectors (``flat``).

    ``line``: they are sequences ``(channels, length)``, here maps of one row.
    ``images``: size of the mini-batch that the foreign network is fixed to, None if it is not.
    ``layout``: order of the axes of the images that it takes.
    """

    def __init__(self, input_shape: Shape, name: str, *, flat: bool, line: bool = False,
                 images: int | None = None, layout: str = CHANNELS_FIRST) -> None:
        self.name = name
        self.images = images
        self._layout = layout
        self.input = Value(INPUT, input_shape, flat=flat, joined=line)
        self._ops: list[Op] = []
        self._params: dict[str, LayerParams] = {}
        self._frozen: set[str] = set()
        self._tensors = SharedTensors()
        self._refused: list[str] = []
        self._taken = {INPUT}
        self._input_read = False
        self._mean: FloatArray = np.zeros(1, np.float32)
        self._std: FloatArray = np.ones(1, np.float32)

    def add(self, op: Op, *sources: Value, label: str = "", params: LayerParams | None = None,
            owner: Any = None, frozen: Sequence[str] = ()) -> Value:
        """Append ``op`` reading ``sources``, named after ``label``, and return its output.

        Args:
            op: the operation; its name and inputs are set here.
            sources: what it reads.
            label: what the foreign network calls it.
            params: its parameters.
            owner: what says whose weights they are: those of one owner are one tensor in the
                foreign network.
            frozen: which of ``weight`` and ``bias`` do not learn there.

        Raises:
            Refused: the operation's own rules forbid it here.
        """
        first = sources[0]
        pads = first.pads
        if isinstance(op, (Activate, Dropout)) and len(sources) == 1:
            sources = (replace(first, pads=NO_PADS),)  # zeros stay zeros
        elif any(any(source.pads) for source in sources):
            raise Refused("reads a padded map", "pad only before a convolution or pooling")
        else:
            pads = NO_PADS
        self._check_layout(op, sources)
        named = replace(op, name=self._name(label or op.kind, op.kind),
                        inputs=tuple(source.name for source in sources))
        try:
            named.verify()
            shape = named.out_shape(*(source.shape for source in sources))
        except BadInput as error:
            text = str(error).removeprefix(f"{named.name}: ").removesuffix(f"; {error.fix}")
            raise Refused(text, error.fix or "change it in the original network") from None
        self._ops.append(named)
        self._taken.add(named.name)
        self._input_read |= any(source.name == INPUT for source in sources)
        if params is not None:
            self._params[named.name] = params
            self._frozen |= {f"{named.name}.{part}" for part in frozen}
            if owner is not None:
                self.note_owner(named.name, WEIGHT, owner)
        low = op.activation.low if isinstance(op, Activate) else None
        positive = (low is not None and low >= 0) or (
            isinstance(op, _KEEPS_SIGN) and all(source.positive for source in sources))
        joined = isinstance(op, _BY_CHANNEL) and first.joined
        kept = first if isinstance(op, _ANY_LAYOUT) else Value("", shape, joined=joined)
        return Value(named.name, shape, pads, all(source.flat for source in sources),
                     *kept.layout, positive)

    def maker(self, value: Value) -> Op | None:
        """Return the operation that yields a value; None for the input."""
        return next((op for op in reversed(self._ops) if op.name == value.name), None)

    def note_owner(self, name: str, part: str, owner: Any) -> None:
        """Note whose tensor the part (``weight``, ``bias``) of operation ``name`` is; see add."""
        self._tensors.note(name, part, owner)

    def apart(self, one: str, other: str) -> bool:
        """Return whether two operations pick different channels of the same value."""
        picks = [op for op in self._ops if op.name in (one, other) and isinstance(op, PickChannels)]
        return (len(picks) == 2 and picks[0].inputs == picks[1].inputs
                and not set(picks[0].channels) & set(picks[1].channels))

    def _check_layout(self, op: Op, sources: Sequence[Value]) -> None:
        """Check that all sources have the order of axes that ``op`` wants.

        Raises:
            Refused: one has not.
        """
        for source in sources:
            if source.groups is not None:
                raise Refused(f"reads channels as two axes, {text_of((BATCH, *source.dims))}",
                              "make them one axis before")
            if source.name == INPUT and source.turned != self.input.turned:
                raise Refused("reads the input in another order of axes than others",
                              "transpose the input once, as the first node")
            if source.name == INPUT and source.scaled != self.input.scaled:
                raise Refused("reads the input otherwise normalised than others",
                              "normalise the input once, in front of everything")
            joined = source.joined and not isinstance(op, _BY_CHANNEL)
            if not isinstance(op, _ANY_LAYOUT) and (source.last or joined):
                raise Refused(f"reads a map in the order {source.dims} (channels first is "
                              f"{source.shape})", "transpose it to channels first before")
        if len({source.layout for source in sources}) > 1:
            raise Refused("joins values in different orders of axes",
                          "join the maps before they are flattened or transposed")

    def refuse(self, node: str, kind: str, refused: Refused) -> None:
        """Note that ``node`` of the foreign kind ``kind`` has no counterpart."""
        why = f" {refused.why}" if refused.why else ""
        text = f"{node} ({kind}){why}: {refused.instead}"
        if text not in self._refused:  # one node may yield several values
            self._refused.append(text)

    def stand_in(self, dims: Sequence[int] | None) -> Value | None:
        """Return a value for what a refused node yields, so that those behind it are checked too.

        ``dims``: its sizes without the mini-batch's; None, or other than one, two or three sizes:
        there is no such value.
        """
        if dims is None or len(dims) not in (1, 2, 3) or min(dims) < 1:
            return None
        channels, rows, cols = (*(int(size) for size in dims), 1, 1)[:3]
        # Whatever it is that the node yields, operations of any kind may follow it.
        return Value("?", (channels, rows, cols), flat=len(dims) == 1, joined=len(dims) == 2,
                     positive=True)

    def finish(self, output: Value | None) -> Model:
        """Return the verified model whose last operation yields ``output``.

        What the output does not need is left out. Weights that the foreign network has once and
        uses twice become two, and nothing would learn where everything is frozen: a warning says
        so.

        Raises:
            UnsupportedModel: names every refused node and every number that the masters do not
                hold, each with what could replace it.
        """
        needed = self._needed(output)
        # Nothing is left out of what a refused node might have needed.
        kept = {name: own for name, own in self._params.items() if name in needed or self._refused}
        kept, gain = with_room(self._input_layers(needed), kept)
        refused = [*self._refused, *(problem for name, own in kept.items()
                                     for problem in value_problems(name, own))]
        if refused:
            count = len(refused)
            raise UnsupportedModel(f"network {self.name!r} has {count} unsupported "
                                   f"node{'s' if count > 1 else ''}: " + "; ".join(refused))
        ops = [op for op in self._ops if op.name in needed]
        if output is None or not ops or any(output.pads):
            raise UnsupportedModel(f"network {self.name!r}", expected="one output, yielded by the "
                                   "last operation", found=output.name if output else "none",
                                   fix="end with a layer that yields the logits")
        if output.counts_otherwise:
            raise UnsupportedModel(
                f"network {self.name!r}", expected="outputs that are counted channel by channel",
                found=f"{text_of((BATCH, *output.dims))}, whose channels are counted fastest",
                fix="end with a mean over rows and columns, or a dense layer")
        ordered = [replace(op, inputs=()) if op.inputs == (before,) else op
                   for op, before in zip(ops, [INPUT] + [op.name for op in ops])]
        graph = Graph.build(self.input.shape, ordered, self.name)
        rows, cols, last = graph.input_shape
        # Gray images, channels last, that are flattened: in either order the features are the same.
        if last == 1 < min(rows, cols) and not self.input.scaled and flattens_input(graph):
            graph = Graph.build((1, rows, cols), ordered, self.name)
        form = ImageFormat(layout=self._layout)
        if self.input.scaled:
            form = ImageFormat.make(self.input.shape[0], None, self._mean.tolist(),
                                    self._std.tolist(), self._layout).implied()
        if gain != 1:
            warnings.warn(f"network {self.name!r}: the weights that read the images are larger "
                          f"than the engine's masters: they are divided by {gain:g}, and the "
                          "images multiplied by it (Model.input_format); outputs are the same",
                          ModelWarning, stacklevel=4)
        return Model(graph, kept, replace(form, gain=gain), self._checked_frozen(kept))

    def _needed(self, output: Value | None) -> set[str]:
        """Return the names of the operations from which ``output`` is computed."""
        inputs = {op.name: op.inputs for op in self._ops}
        found: set[str] = set()
        todo = [output.name] if output is not None else []
        while todo:
            name = todo.pop()
            if name in inputs and name not in found:
                found.add(name)
                todo += inputs[name]
        return found

    def _input_layers(self, needed: set[str]) -> list[str]:
        """Return the layers that read the images, if these have weights of their own, all of them.
        """
        readers = [op for op in self._ops if INPUT in op.inputs and op.name in needed]
        shared = self._tensors.sharing_weights
        alone = all(isinstance(op, (Conv, Dense)) and op.name not in shared for op in readers)
        return [op.name for op in readers] if alone else []

    def _checked_frozen(self, params: dict[str, LayerParams]) -> frozenset[str]:
        """Return what does not learn, and warn of what the foreign network does otherwise."""
        parts = {f"{name}.{part}" for name, own in params.items() for part in _PARTS
                 if getattr(own, part) is not None}
        frozen = self._frozen & parts
        for sentence in self._tensors.moved_apart(params, frozen):
            warnings.warn(f"network {self.name!r}: {sentence}", ModelWarning, stacklevel=4)
        if frozen == parts:
            if parts:
                warnings.warn(f"network {self.name!r}: no parameter learns in the original; here "
                              "all of them do unless trainable= says otherwise", ModelWarning,
                              stacklevel=4)
            return frozenset()
        return frozenset(frozen)

    # -- what the formats share ------------------------------------------------------------------

    def conv(self, source: Value, weight: FloatArray, bias: FloatArray | None, *, kernel: Any,
             stride: Any, padding: OwnPadding, dilation: Any, groups: int, label: str,
             owner: Any = None, frozen: Sequence[str] = ()) -> Value:
        """Append a convolution with weights ``(m, n, kr, kc)``; zeros before it join in."""
        size, step, apart, span = dilated_window(kernel, stride, dilation)
        if groups < 1 or weight.shape[1] * groups != source.shape[0]:
            raise Refused(f"has weights of shape {weight.shape} in {groups} group"
                          f"{'s' * (groups != 1)} for {source.shape[0]} channels",
                          "make them (m, channels / groups, rows, cols)")
        if bias is not None and bias.size != len(weight):
            raise Refused(f"has {bias.size} biases for {len(weight)} channels",
                          "give one for each output channel")
        pads = conv_padding(source.shape, source.pads, span, step, padding)
        op = Conv(len(weight), size, step, pads, bias is not None, groups=groups,
                  dilation=apart)
        params = LayerParams(float32(weight), None if bias is None else float32(bias).ravel())
        return self.add(op, replace(source, pads=NO_PADS), label=label, params=params,
                        owner=owner, frozen=frozen)

    def dense(self, source: Value, weight: FloatArray, bias: FloatArray | None, *, label: str,
              owner: Any = None, frozen: Sequence[str] = ()) -> Value:
        """Append a fully connected layer with weights ``(m, n)``, n counted as foreign values are.

        Raises:
            Refused: the source is no vector, or the arrays do not fit.
        """
        if not source.flat:
            raise Refused("reads a map that is not flattened", "put a flatten before it")
        if weight.ndim != 2 or weight.shape[1] != math.prod(source.shape):
            raise Refused(f"has weights of shape {weight.shape} for {source.shape[0]} features",
                          "make them fit what it reads")
        if bias is not None and bias.size not in (1, len(weight)):
            raise Refused(f"has {bias.size} biases for {len(weight)} units",
                          "give one for each unit")
        params = LayerParams(
            float32(channels_first(weight, source, axis=1)),
            None if bias is None else float32(np.broadcast_to(bias.ravel(), len(weight))))
        plain = replace(source, map_shape=None)
        return replace(self.add(Dense(len(weight), bias is not None), plain, label=label,
                                params=params, owner=owner, frozen=frozen), flat=True)

    def norm(self, source: Value, op: BatchNorm, gamma: Any, beta: Any, mean: Any, variance: Any,
             *, label: str, owner: Any = None, frozen: Sequence[str] = ()) -> Value:
        """Append a batch normalisation; its arrays are counted as foreign channels are.

        Raises:
            Refused: the arrays do not fit.
        """
        channels = source.shape[0]
        arrays = [np.asarray(array, np.float32).ravel()
                  for array in (gamma, beta, mean, variance)]
        if any(array.size != channels for array in arrays):
            raise Refused(f"has {', '.join(str(a.size) for a in arrays)} values of gamma, beta, "
                          f"mean and variance for {channels} channels", "give one per channel")
        if arrays[3].min() < 0:
            raise Refused(f"has a variance of {arrays[3].min():g}", "use its running variance")
        if arrays[3].min() + op.eps <= 0:
            raise Refused("divides by a deviation of 0", "give it an eps above 0")
        arrays = [channels_first(array, source, axis=0) for array in arrays]
        out = self.add(op, replace(source, map_shape=None), label=label, owner=owner,
                       params=LayerParams(*arrays), frozen=frozen)
        return replace(out, map_shape=source.map_shape, joined=source.joined)

    def line(self, source: Value) -> Value:
        """Return a sequence ``(channels, length)`` of the foreign network as a map of one row.

        Raises:
            Refused: it is no sequence, or one of pixels that have rows here.
        """
        if not source.joined or source.shape[1] != 1:
            raise Refused(f"reads {text_of((BATCH, *source.dims))} as a sequence",
                          "give it (n, channels, length) from the input on")
        return replace(source, joined=False)

    def pool(self, source: Value, *, largest: bool, kernel: Any, stride: Any,
             padding: OwnPadding, label: str, counts_padding: bool = True,
             ceil: bool = False) -> Value:
        """Append max or average pooling.

        Args:
            source: what it reads; zeros around it count as pixels.
            largest: maxima, not means.
            kernel, stride: one number or two.
            padding: zeros (or nothing, for maxima) around the map.
            label: what the foreign network calls it.
            counts_padding: the padding counts in means.
            ceil: a last window may hang over the padding's end.

        Raises:
            Refused: no pooling of the engine has these windows.
        """
        plain = replace(source, pads=NO_PADS)
        op: Op
        if largest and not ceil and padding in (0, NO_PADS) and not any(source.pads):
            steps = in_steps(kernel, stride)
            for number, side in enumerate(steps[:-1], 1):
                source = plain = self.add(pool_maxima(source.shape, NO_PADS, side, side, 0, False),
                                          source, label=f"{label}.{number}")
                kernel = stride = steps[-1]
        if largest:
            if any(source.pads) and not source.positive:
                raise Refused("reads a padded map with values below zero, so that zeros can be the "
                              "largest", "put ReLU before the padding, or use the pooling's own")
            op = pool_maxima(source.shape, source.pads, kernel, stride, padding, ceil)
        else:
            op = averaged(source.shape, source.pads, kernel, stride, padding, ceil, counts_padding)
        if isinstance(op, AvgPool) and (op.kernel, op.stride) == (1, 1):
            return plain
        return self.add(op, plain, label=label)

    def add_bias(self, source: Value, bias: Any, alone: bool) -> Value:
        """Give the layer that yields ``source`` a bias, where it is the last and has none.

        ``alone``: nothing else reads ``source``.
        """
        last = self._ops[-1] if self._ops else None
        array = float32(bias)
        if not array.any():
            return source
        values = per_channel(array, source)
        if (values is None or not isinstance(last, (Conv, ConvTranspose, Dense)) or last.bias
                or not alone or last.name != source.name):
            raise Refused("adds a constant", "use the bias of the layer before it")
        self._ops[-1] = replace(last, bias=True)
        self._params[last.name] = replace(self._params[last.name], bias=values)
        return source

    def normalise(self, source: Value, times: Any = 1.0, plus: Any = 0.0) -> Value:
        """Return the input times a constant, plus another one: that belongs to the images.

        Raises:
            Refused: it is not the input, or others read that as it is; or the constants are not
                one number per channel.
        """
        factors, terms = (float32(array).ravel() if np.size(array) == 1 else
                          per_channel(float32(array), source) for array in (times, plus))
        if source.name != INPUT or self._input_read or any(source.pads):
            raise Refused("computes with a constant", "fold it into the weights, or normalise the "
                          "input in front of everything else")
        if (factors is None or terms is None or not np.isfinite(factors).all()
                or not np.isfinite(terms).all() or factors.min() <= 0):
            raise Refused("normalises with something else than one factor above 0 and one number "
                          "per channel", "prepare the images before the network")
        # (x - mean) / std * f + t = (x - (mean - t * std / f)) / (std / f)
        self._std = self._std / factors
        self._mean = self._mean - terms * self._std
        self.input = replace(self.input, scaled=source.scaled + 1)
        return replace(source, scaled=source.scaled + 1)

    def global_mean(self, source: Value, label: str, *, last: bool = False) -> Value:
        """Append global average pooling; of a vector, such as another mean, it changes nothing.

        ``last``: it goes over the rows and columns of a map with channels last, if it is one.

        Raises:
            Refused: it goes over the last axes of a map whose channels are last.
        """
        if source.last and not last:
            raise Refused(f"takes the mean over the last axes of {text_of((BATCH, *source.dims))}, "
                          "which are not its rows and columns",
                          "transpose it to channels first before")
        if source.shape[1:] == (1, 1) and not any(source.pads) and self._vector(source.name):
            return source
        plain = replace(source, last=False, joined=False)
        return replace(self.add(GlobalAvgPool(), plain, label=label), last=source.last,
                       joined=source.joined)

    def flatten(self, source: Value, label: str, *, last: bool = False) -> Value:
        """Flatten a map; a vector stays as it is. ``last``: channels are counted fastest."""
        if source.flat:
            return source
        if any(source.pads):
            raise Refused("reads a padded map", "pad only before a convolution or pooling")
        plain = replace(source, last=False, joined=False, groups=None)
        if source.shape[1:] == (1, 1):
            return replace(plain, flat=True, before=source)
        out = self.add(Flatten(), plain, label=label)
        # One channel counts alike in either order.
        other = (source.last or last) and source.shape[0] > 1
        return replace(out, flat=True, map_shape=source.shape if other else None, before=source)

    def reshape(self, source: Value, sizes: Sequence[int], label: str) -> Value:
        """Return ``source`` with other ``sizes``; the first is the mini-batch's.

        That may be :data:`BATCH`, -1, or the number of images that the foreign network is fixed to.

        Raises:
            Refused: images would be mixed, or the values stand in another order than an operation
                here can make.
        """
        first, *rest = sizes or (0,)
        whole = math.prod(source.dims)
        if rest.count(-1) == 1 and first != -1:
            others = -math.prod(rest)
            rest = [whole // max(others, 1) if size == -1 else size for size in rest]
        wanted = tuple(rest)
        if (first in (BATCH, -1, 1, self.images) and math.prod(wanted) == whole
                and min(wanted, default=0) > 0):
            if wanted == source.dims:
                return source
            if len(wanted) == 1:
                return self.flatten(source, label)
            made = None if any(source.pads) else seen_as(source, wanted, self._turned)
            if made is not None:
                return made
        raise Refused(f"reshapes {text_of((BATCH, *source.dims))} to {text_of(sizes)}",
                      "only flatten, to (n, -1)")

    def permute(self, source: Value, axes: Sequence[int], label: str = "") -> Value:
        """Return ``source`` with its axes, counted without the mini-batch's, in another order.

        Raises:
            Refused: it is none of the changes between channels first and channels last, nor one
                of the two axes that channels are seen as.
        """
        order = tuple(axes)
        if order == tuple(range(len(source.dims))):
            return source
        if source.groups is not None and order == (1, 0, *range(2, len(order))):
            outer, inner = source.groups
            plain = replace(source, groups=None)
            if outer > 1 and inner > 1:
                plain = self.add(PickChannels(tuple(shuffled(outer, outer * inner))), plain,
                                 label=label)
            return replace(plain, groups=(inner, outer))
        if len(source.dims) == 3 and not any(source.pads):
            rows, cols, channels = source.dims
            if order == (2, 0, 1) and source.last:
                return replace(source, last=False)
            if order == (2, 0, 1) and source.name == INPUT and not source.turned:
                self._layout = CHANNELS_LAST
                return self._turned((channels, rows, cols))
            if order == (1, 2, 0) and not source.last:
                return replace(source, last=True)
        raise Refused(f"puts axes {source.dims} in the order {tuple(a + 1 for a in order)}",
                      "only change between channels first and channels last")

    def pad(self, source: Value, top: int, left: int, bottom: int, right: int) -> Value:
        """Return ``source`` with zeros around it.

        Raises:
            Refused: numbers below zero cut pixels off.
        """
        added = (top, left, bottom, right)
        if min(added) < 0:
            raise Refused(f"pads {added} (top, left, bottom, right) and so cuts pixels off",
                          "pad with numbers of at least 0")
        if not any(added):
            return source
        if source.flat or source.joined:
            raise Refused("pads a vector", "pad maps")
        above, before, below, behind = (old + new for old, new in zip(source.pads, added))
        return replace(source, pads=(above, before, below, behind))

    # -- private ---------------------------------------------------------------------------------

    def _turned(self, shape: Shape) -> Value:
        """Return the input as images of ``shape``.

        Raises:
            Refused: something has read it in its own order.
        """
        turned = Value(INPUT, shape, turned=True, scaled=self.input.scaled)
        if self._mean.size > 1:
            raise Refused("turns the input behind its normalisation",
                          "transpose the input once, as the first node")
        if self._input_read and (self.input.shape, self.input.turned) != (shape, True):
            raise Refused("turns the input, which others read as it is",
                          "transpose the input once, as the first node")
        self.input = turned
        return turned

    def _vector(self, name: str) -> bool:
        """Return whether an operation yields what a dense layer or a mean has computed."""
        for op in reversed(self._ops):
            if op.name == name:
                if not isinstance(op, (*_ANY_LAYOUT, BatchNorm, Concat)):
                    return isinstance(op, (Dense, GlobalAvgPool))
                name = op.inputs[0]
        return False

    def _name(self, label: str, kind: str) -> str:
        clean = re.sub(r"[^A-Za-z0-9_.-]+", ".", label).strip(".")
        if not re.match(r"[A-Za-z_]", clean):
            clean = f"{kind}{clean}"
        name, number = clean, 1
        while name in self._taken:
            number += 1
            name = f"{clean}_{number}"
        return name
