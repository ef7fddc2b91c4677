"""How a verified network is trained: what a seed says of optimiser, loss and mini-batches."""

from __future__ import annotations

from dataclasses import dataclass, field

from pynq_train.check.draw import Draw
from pynq_train.quant import Loss, SgdStep
from pynq_train.quant.loss import CROSS_ENTROPY, MSE

_STREAM, _END_STREAM = 0x0971, 0x0E2D
_MOMENTUM, _SMOOTHING = 0.9, 0.1


@dataclass(frozen=True)
class Options:
    """Options of the training steps of a verification.

    Attributes:
        momentum: momentum factor; 0 trains bare weights.
        nesterov: whether steps are Nesterov's.
        loss: name of the loss.
        label_smoothing: label smoothing, with cross-entropy.
        accumulate: mini-batches of an update.
        missing: images that the last mini-batch of training lacks, if it has more than these.
        end: number of the loss behind what the softmax unit does not read, 0 to 7.
    """

    momentum: float
    nesterov: bool
    loss: str
    label_smoothing: float
    accumulate: int
    missing: int
    end: int = field(default=0, repr=False)

    @classmethod
    def of(cls, seed: int) -> Options:
        """Return the options of ``seed``: odd ones have no momentum, the rest is drawn."""
        draw = Draw(seed, _STREAM)
        momentum = 0.0 if seed % 2 else _MOMENTUM
        nesterov = draw.chance(40) and momentum > 0
        loss = MSE if draw.chance(20) else CROSS_ENTROPY
        smoothing = _SMOOTHING if draw.chance(40) and loss == CROSS_ENTROPY else 0.0
        # Nesterov's step needs the mean gradient by itself: it is refused with accumulation.
        accumulate = 2 if draw.chance(20) and not nesterov else 1
        return cls(momentum, nesterov, loss, smoothing, accumulate,
                   draw.between(1, 3) if draw.chance(40) else 0,
                   # A stream of its own: it came later, and must not change the others.
                   Draw(seed, _END_STREAM).below(8))

    def loss_of(self, classes: int) -> Loss:
        """Return the loss for a network of ``classes`` outputs."""
        return Loss(self.loss, self.label_smoothing, classes)

    def valid(self, batch: int, last: bool) -> int:
        """Return the images that count in a mini-batch of ``batch``; ``last``: the last one."""
        return batch - self.missing if last and batch > self.missing else batch

    def sgd(self, seed: int, step: int, valid: int) -> SgdStep:
        """Return learning rate and so on of step ``step``, of which ``valid`` images count."""
        return SgdStep(lr=0.01, momentum=self.momentum, decay=1e-3, nesterov=self.nesterov,
                       parts=self.accumulate, part=step % self.accumulate, seed=seed, step=step,
                       valid=valid)
