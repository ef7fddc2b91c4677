"""A network in device memory: masters, exponents, one training step after the other."""

from pynq_train.run.failure import Failure
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session, StepOutcome

__all__ = ["Failure", "Masters", "Session", "StepOutcome"]
