"""Between the halves of a step whose loss the host computes: outputs read, gradients written."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.backends import Backend, RunResult
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.quant.loss import Loss
from pynq_train.run.host_loss import HostResult, host_loss
from pynq_train.run.trainer import StepOutcome
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.specs.layout import MapLayout

LOGITS = "logits"
"""Symbol of the outputs."""
_CODE_BYTES = 2


@dataclass(frozen=True)
class Between:
    """What the host needs between the halves of a step.

    Attributes:
        loss: what is minimised, for this mini-batch.
        targets: of the images that count (:func:`~pynq_train.run.host_loss.host_loss`).
        logits: exponent of the outputs.
        gradient: exponent of their gradient.
    """

    loss: Loss
    targets: Array
    logits: int
    gradient: int

    def run(self, plan: Plan, backend: Backend) -> HostResult:
        """Compute the loss of what the first half has left in memory; write its gradient there."""
        codes = read_outputs(plan, backend)[: len(self.targets)]
        found = host_loss(self.loss, codes, self.logits, self.targets, self.gradient)
        write_gradient(plan, backend, found.gradient)
        return found


def output_shape(plan: Plan) -> tuple[int, int, int]:
    """Return channels, rows and columns of a network's output."""
    return plan.layers[-1].out_shape


def read_outputs(plan: Plan, backend: Backend) -> NDArray[np.int16]:
    """Return the codes of all outputs ``(batch, channels, rows, cols)``."""
    layout = plan.specs[-1].y
    data = backend.read(plan.memory[LOGITS].offset, layout.extent)
    found = elements(data, layout)
    blocks = layout.blocks * CHANNELS_PER_WORD
    if layout.images != plan.batch:  # a dense map: its columns are the images
        codes = found[0, :, 0].transpose(1, 0, 2).reshape(plan.batch, blocks, 1, 1)
    else:
        codes = found.transpose(0, 1, 4, 2, 3).reshape(plan.batch, blocks, layout.rows,
                                                       layout.cols)
    return np.ascontiguousarray(codes[:, : output_shape(plan)[0]])


def write_gradient(plan: Plan, backend: Backend, codes: NDArray[np.int16]) -> None:
    """Write the gradient of the outputs; that of images which lack is zero.

    ``codes``: ``(n, channels, rows, cols)`` of at most a mini-batch.
    """
    layout, offset = plan.specs[-1].y, plan.memory[DLOGITS].offset
    channels, rows, cols = output_shape(plan)
    padded = np.zeros((plan.batch, layout.blocks * CHANNELS_PER_WORD, rows, cols), np.int16)
    padded[: len(codes), :channels] = codes
    words = padded.reshape(plan.batch, layout.blocks, CHANNELS_PER_WORD, rows, cols)
    if layout.images != plan.batch:
        words = words[..., 0, 0].transpose(1, 0, 2)
    elif layout.block_stride != layout.rows * layout.row_stride:  # a dense map, as a convolution
        words = words[..., 0, 0].transpose(1, 0, 2)               # of 1x1 maps writes it
    else:
        words = words.transpose(0, 1, 3, 4, 2)
        step = layout.blocks * layout.block_stride
        if plan.batch > 1 and layout.image_stride != step:  # others stand between the images
            for number, image in enumerate(words):
                backend.write(offset + number * layout.image_stride, np.ascontiguousarray(image))
            return
    backend.write(offset, np.ascontiguousarray(words))


def elements(data: NDArray[np.uint8], layout: MapLayout) -> NDArray[np.int16]:
    """Return the elements of a map in its bytes, gaps between images left out: a view."""
    return as_strided(data.view(np.int16),
                      (layout.images, layout.blocks, layout.rows, layout.cols, CHANNELS_PER_WORD),
                      (layout.image_stride, layout.block_stride, layout.row_stride,
                       layout.col_stride, _CODE_BYTES))


def joined(first: RunResult, second: RunResult) -> RunResult:
    """Return both runs of a step as one."""
    counters = {name: value + second.counters.get(name, 0)
                for name, value in first.counters.items()}
    return RunResult(first.cycles + second.cycles, counters, second.status)


def with_loss(outcome: StepOutcome, found: HostResult) -> StepOutcome:
    """Return an outcome with the loss and the right answers that the host has found."""
    return replace(outcome, loss_sum=found.loss * outcome.images, correct=found.correct,
                   answers=found.answers, weight=found.weight)
