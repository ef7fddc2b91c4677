"""The EF-Train kernel behind the learner: ``board="hls-csim"``.

It is an engine of its own, compiled by g++: called layer by layer, without device memory and
programs. Weights are float32; where the learner keeps or saves them they are masters of our engine
(Q3.28), so that a checkpoint goes on wherever one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends.names import HLS_CSIM
from pynq_train.eftrain.csim import KNOWN_ACTIVATIONS, EfNetwork
from pynq_train.errors import BadInput
from pynq_train.graph.windows import ONE
from pynq_train.layers import FusedLayer
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.quant.loss import CROSS_ENTROPY
from pynq_train.run.batch import Batch, Images, floats
from pynq_train.run.formats import range_of
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.run.trainer import StepOutcome, T
from pynq_train.schedule.plan import Plan


def _found(layer: FusedLayer) -> str:
    """Return what of a layer the kernel does not have."""
    if layer.kind.transposed:
        return str(layer.kind)
    if layer.average:
        if layer.copies is None:
            return "AvgPool"
        return "PadChannels" if -1 in layer.copies else "PickChannels"
    if layer.activation not in KNOWN_ACTIVATIONS:
        return str(layer.activation)
    if layer.groups > 1:
        return f"{layer.groups} groups"
    if layer.reads is not None:
        return "PickChannels"
    if layer.dilation != ONE:
        return f"a dilation of {layer.dilation}"
    return f"a kernel of {layer.kernel} with a stride of {layer.stride}"


class HlsTrainer:
    """Trains with the kernel; it satisfies :class:`~pynq_train.run.trainer.Trainer`.

    Args:
        plan: gives layers and mini-batch; its tiles and memory are not used.
        masters: weights by layer name.
        policy: ranges for other boards; floating point needs no exponents.

    Raises:
        BadInput: the plan freezes something (the kernel updates every layer), a layer has groups,
            another activation than ReLU, or average pooling, or is no convolution or dense layer,
            or its kernel or stride is not square, or the loss is not the plain cross-entropy.
    """

    def __init__(self, plan: Plan, masters: Mapping[str, Masters], policy: ExponentPolicy) -> None:
        for layer, trainable in zip(plan.layers, plan.trainable):
            if not layer.on_array:
                raise BadInput(f"{HLS_CSIM}: layer {layer.name!r}", expected="a convolution or a "
                               "dense layer", found=str(layer.kind),
                               fix="use another board: EF-Train's kernel has nothing else")
            square = all(sides.rows == sides.cols for sides in (layer.kernel, layer.stride))
            if (layer.groups > 1 or layer.activation not in KNOWN_ACTIVATIONS
                    or layer.average or layer.kind.transposed or layer.reads is not None
                    or layer.dilation != ONE or not square):
                raise BadInput(f"{HLS_CSIM}: layer {layer.name!r}", expected="a square convolution "
                               "over all channels, with Relu", found=_found(layer),
                               fix="use another board: EF-Train's kernel has none of these")
            if not trainable.weights or trainable.bias != layer.bias:
                raise BadInput(f"{HLS_CSIM}: trainable", found=f"layer {layer.name!r} frozen",
                               expected="'all': EF-Train updates every layer",
                               fix="use trainable='all'")
        if plan.loss.mse or plan.loss.smoothing or plan.loss.on_host:
            raise BadInput(f"{HLS_CSIM}: loss", expected="cross-entropy without label smoothing",
                           found=f"label_smoothing={plan.loss.smoothing}" if plan.loss.smoothing
                           else "weights, or labels that do not count or are of pixels"
                           if plan.loss.kind == CROSS_ENTROPY else plan.loss.kind,
                           fix="leave loss and label_smoothing out")
        self.plan = plan
        self.policy = policy
        params = {name: own.params() for name, own in masters.items()}
        self._network = EfNetwork(plan.layers, params, plan.batch)

    def prepare(self, images: Images, labels: Array | None, input_k: int) -> None:
        """Keep the range of the images for boards that go on; floating point needs no other."""
        self.policy.input_k = input_k

    def widen(self, images: Images) -> None:
        """Keep the range of the images, as :meth:`prepare` does."""
        self.policy = self.policy.widened(input_k=range_of(float(np.abs(floats(images)).max())))

    def train_step(self, images: Images, labels: Array, sgd: SgdStep,
                   then: Batch | None = None) -> StepOutcome:
        """Run one training step.

        ``then`` is of no use here: nothing runs beside the kernel.

        Raises:
            BadInput: momentum, weight decay, rates per layer or clipping, which the kernel's update
                does not have; or a loss or weight that is no finite number any more.
        """
        if any(factor != 1 for pair in sgd.factors for factor in pair):
            raise BadInput(f"{HLS_CSIM}: layer_lr", expected="none: EF-Train has one rate",
                           found=sgd.factors, fix="leave layer_lr out")
        if sgd.parts > 1:
            raise BadInput(f"{HLS_CSIM}: accumulate", expected="1: EF-Train keeps no gradients",
                           found=sgd.parts, fix="leave accumulate out")
        if sgd.clip is not None:
            raise BadInput(f"{HLS_CSIM}: clip", expected="None", found=sgd.clip,
                           fix="leave clip out")
        for what, value in (("momentum", sgd.momentum), ("weight_decay", sgd.decay)):
            if value:
                raise BadInput(f"{HLS_CSIM}: {what}", expected="0: EF-Train's update is plain SGD",
                               found=value, fix=f"use SGD({what}=0)")
        said = self._network.step(floats(images), labels, sgd.lr)
        values = [value for own in self._network.read().values()
                  for value in (own.weight, own.bias) if value is not None]
        if not (np.isfinite(said.loss_sum) and all(np.isfinite(one).all() for one in values)):
            raise BadInput(f"{HLS_CSIM}: loss and weights behind a step", expected="finite numbers",
                           found=f"loss {said.loss_sum / len(images)}, largest weight "
                           f"{max(float(np.abs(value).max()) for value in values)}",
                           fix="begin anew with a lower learning rate; the weights are those "
                           "before the step")
        return StepOutcome(said.loss_sum, said.correct, len(images), 0, 0, {})

    def evaluate(self, images: Images, labels: Array | None = None
                 ) -> tuple[StepOutcome, NDArray[np.float32]]:
        """Run the forward pass; return the outcome, and logits ``(images, classes)``."""
        known = np.zeros(len(images), np.int64) if labels is None else labels
        said, logits = self._network.evaluate(floats(images), known)
        return StepOutcome(said.loss_sum, said.correct, len(images), 0, 0, {}), logits

    def write_masters(self, masters: Mapping[str, Masters]) -> None:
        """Set the weights."""
        self._network.write({name: own.params() for name, own in masters.items()})

    def read_masters(self) -> dict[str, Masters]:
        """Return the weights, rounded to 2^-28; there is no momentum.

        The policy starts afresh from their ranges: a board that goes on with them needs it.
        """
        masters = {name: Masters.of(own) for name, own in self._network.read().items()}
        self.policy = new_policy(self.plan, masters, self.policy.input_k)
        return masters

    def protected(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns; if it fails, the weights are as before it, bit for bit."""
        saved = self._network.read()
        try:
            return work()
        except BaseException:
            self._network.write(saved)
            raise
