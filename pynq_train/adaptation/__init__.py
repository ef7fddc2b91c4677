"""Adaptation to a user's samples within a budget of memory and time."""

from pynq_train.adaptation.budget import Budget
from pynq_train.adaptation.course import Course, course_of
from pynq_train.adaptation.gates import Gate, Gated, fit_gates
from pynq_train.adaptation.study import (
    BATCH,
    EPOCHS,
    LADDER,
    Candidate,
    Rung,
    Settings,
    Study,
    adapt,
    adapted,
    study,
)

__all__ = ["BATCH", "EPOCHS", "LADDER", "Budget", "Candidate", "Course", "Gate", "Gated",
           "Rung", "Settings", "Study", "adapt", "adapted", "course_of", "fit_gates", "study"]
