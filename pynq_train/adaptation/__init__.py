"""Adaptation to a user's samples within a budget of memory and time."""

from pynq_train.adaptation.budget import Budget
from pynq_train.adaptation.study import (
    BATCH,
    EPOCHS,
    LADDER,
    Rung,
    Settings,
    Study,
    adapt,
    adapted,
    study,
)

__all__ = ["BATCH", "EPOCHS", "LADDER", "Budget", "Rung", "Settings", "Study", "adapt", "adapted",
           "study"]
