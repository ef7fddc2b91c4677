"""A network that trains: masters, exponents, one training step after the other."""

from pynq_train.run.failure import Failure
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session
from pynq_train.run.trainer import StepOutcome, Trainer

__all__ = ["Failure", "Masters", "Session", "StepOutcome", "Trainer"]
