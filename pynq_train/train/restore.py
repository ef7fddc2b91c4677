"""What a checkpoint says of a learner: its options, exponents, the format of its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pynq_train.graph.image_format import ImageFormat
from pynq_train.quant import ExponentPolicy, SgdStep
from pynq_train.quant.loss import CROSS_ENTROPY
from pynq_train.schedule.lower.step_block import pack_step_block, plan_params
from pynq_train.schedule.plan import Plan
from pynq_train.train.optimizer import SGD
from pynq_train.train.targets import Task


def options_of(state: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Return the options of the learner that a training state is of.

    Args:
        state: the training state of a checkpoint.
        given: options that take the place of the saved ones, where they are not None.

    Raises:
        KeyError, TypeError, ValueError: the state is malformed.
    """
    loss = state.get("loss", CROSS_ENTROPY)
    same = given.get("loss") in (None, loss)
    saved = {"optimizer": SGD.from_dict(state["optimizer"]), "batch": int(state["batch"]),
             "seed": int(state["seed"]), "normalise": bool(state["normalise"]),
             "trainable": state["trainable"], "loss": loss,
             # Label smoothing belongs to the saved loss.
             "label_smoothing": float(state.get("label_smoothing", 0.0)) if same else 0.0,
             "accumulate": state.get("accumulate", 1)}
    if same and "loss_options" in state:
        saved.update(Task.options_of(state["loss_options"]))
    return {**saved, **{name: value for name, value in given.items() if value is not None}}


def format_of(state: Mapping[str, Any], channels: int) -> ImageFormat:
    """Return the saved format of images; files of earlier releases have the normalisation alone."""
    return ImageFormat.from_dict(state.get("input_format", state), channels)


def check_exponents(plan: Plan, policy: ExponentPolicy) -> None:
    """Refuse exponents with which no step could run.

    Raises:
        ValueError: a value does not fit its field of the step block.
    """
    for sgd in (SgdStep(0.0), None):  # a training step, an evaluation
        used = policy.exponents(plan.batch, sgd is not None)
        pack_step_block(plan, plan_params(plan, used, sgd))
