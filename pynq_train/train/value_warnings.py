"""Warnings of images and of values that the engine does not hold, once for each learner."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pynq_train.errors import DataWarning, ModelWarning, warn_once
from pynq_train.graph.params import LayerParams
from pynq_train.images import LARGEST_VALUE, PIXEL_RANGES, check_units
from pynq_train.quant.policy import FEATURE_FLOOR, WEIGHT_FLOOR
from pynq_train.run.trainer import StepOutcome
from pynq_train.train.images import LARGE, ImageSource

_FEW_STEPS = 32
"""What is below so many steps of the finest format is rounded by more than a hundredth."""


def check_weights(params: Mapping[str, LayerParams], warned: set[str]) -> None:
    """Warn of layers all of whose weights are so small that the engine's finest format is coarse.

    Weights that are all zero are what they are; coefficients of normalisations have exponents of
    their own.

    Args:
        params: weights by layer name.
        warned: kinds of warnings given so far; a new one is added.
    """
    largest = {name: float(np.abs(own.weight).max()) for name, own in params.items()
               if own.weight.size and own.variance is None}
    small = [f"{value:.3g} in {name}" for name, value in largest.items()
             if 0 < value < _FEW_STEPS * 2.0**WEIGHT_FLOOR]
    if small:
        warn_once(ModelWarning, "weights: expected the largest of a layer to be at least "
                  f"{_FEW_STEPS * 2.0**WEIGHT_FLOOR:.3g}, found {', '.join(small)}: the engine "
                  f"reads weights in steps of {2.0**WEIGHT_FLOOR:.3g} at the finest, so these lose "
                  "most of their digits; multiply them, and divide the weights behind them or the "
                  "normalisation's running statistics", warned, "small weights")


def check_images(source: ImageSource, foreign: bool, warned: set[str]) -> None:
    """Warn where uint8 images may be of another range than the model's, or values are too large.

    Args:
        source: the images.
        foreign: whether the weights were trained elsewhere, on images of which nobody may have
            said the range.
        warned: kinds of warnings given so far; new ones are added.
    """
    form = source.form
    check_units(form, warned)
    if source.dtype == np.uint8 and form.input_range is None:
        if foreign:
            warn_once(DataWarning, "images: nobody has said which values this model was made for: "
                      "uint8 images are divided by 255; say input_range=(0, 255) or (0, 1) where "
                      "the learner is made", warned, "uint8")
    elif source.dtype == np.uint8 and not form.stated and form.input_range not in PIXEL_RANGES:
        assert form.input_range is not None
        low, high = form.input_range
        warn_once(DataWarning, f"images: the model was trained with floats of {low:g}..{high:g}: "
                  "uint8 images are spread over that range; say input_range=(LOW, HIGH) where the "
                  "learner is made", warned, "uint8")
    if source.largest > LARGEST_VALUE:
        warn_once(DataWarning, f"images: expected values of at most {LARGEST_VALUE} behind mean "
                  f"and deviation, found {source.largest:.4g} in {source.place_of_largest}: they "
                  "saturate; scale the images", warned, LARGE)
    elif 0 < source.largest < _FEW_STEPS * 2.0**FEATURE_FLOOR:
        warn_once(DataWarning, "images: expected some value of at least "
                  f"{_FEW_STEPS * 2.0**FEATURE_FLOOR:.3g} behind mean and deviation, found "
                  f"{source.largest:.3g} at most: the engine reads images in steps of "
                  f"{2.0**FEATURE_FLOOR:.3g} at the finest; multiply the images, or say std= of "
                  "them where the learner is made", warned, "small images")


def check_outcome(outcome: StepOutcome, logits: str, warned: set[str]) -> None:
    """Warn if values of an evaluation saturate that even the largest exponent does not hold.

    Args:
        outcome: of the evaluation, when its ranges were as wide as they can be.
        logits: name of the tensor that holds the logits.
        warned: kinds of warnings given so far; a new one is added.
    """
    found = [f"{count} of {name}" + (
        f" (up to {outcome.beyond[name]:.6g})" if name in outcome.beyond else "")
        for name, count in outcome.tensors.items() if count]
    if not found:
        return
    wrong = (f"; {logits} are the logits, so answers may be wrong: divide weights and biases of "
             "that layer, which changes no answer" if outcome.tensors.get(logits) else "")
    warn_once(DataWarning, f"values larger than the engine holds ({LARGEST_VALUE}) saturate: "
              f"{', '.join(found)}; scale the images, or say mean= and std= of them where the "
              f"learner is made{wrong}", warned, "saturated logits" if wrong else "saturated")
