"""Exponents of all tensors, kept in integers, and the step-block entries that follow from them."""

from pynq_train.quant.loss import Loss
from pynq_train.quant.policy import (
    ExponentPolicy,
    LayerExponents,
    Measures,
    QuantLayer,
    StepExponents,
)
from pynq_train.quant.step import (
    SgdStep,
    StepParams,
    learning_rate_fields,
    step_params,
)

__all__ = [
    "ExponentPolicy",
    "LayerExponents",
    "Loss",
    "Measures",
    "QuantLayer",
    "SgdStep",
    "StepExponents",
    "StepParams",
    "learning_rate_fields",
    "step_params",
]
