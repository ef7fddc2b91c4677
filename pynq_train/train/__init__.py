"""Training on a board: learner, optimizer, checkpoints."""

from pynq_train.graph.image_format import Normalisation
from pynq_train.train import callbacks, schedules
from pynq_train.train.history import EpochResult, Evaluation, History
from pynq_train.train.learner import Learner
from pynq_train.train.optimizer import SGD
from pynq_train.train.twin import fit_float

__all__ = ["SGD", "EpochResult", "Evaluation", "History", "Learner", "Normalisation", "callbacks",
           "fit_float", "schedules"]
