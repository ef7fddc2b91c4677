"""Training on a board: learner, optimizer, checkpoints, and the proof of equal bits."""

from pynq_train.train import callbacks, schedules
from pynq_train.train.coverage import Coverage
from pynq_train.train.difference import Difference
from pynq_train.train.failure import Failure
from pynq_train.train.history import EpochResult, Evaluation, History
from pynq_train.train.images import Normalisation
from pynq_train.train.learner import Learner, board_of
from pynq_train.train.optimizer import SGD
from pynq_train.train.random_nets import RandomNet, random_net, random_train
from pynq_train.train.replay import Replay, replay
from pynq_train.train.session import Masters, Session, StepOutcome
from pynq_train.train.twin import fit_float
from pynq_train.train.verify import VerifyReport, verify

__all__ = [
    "SGD",
    "Coverage",
    "Difference",
    "EpochResult",
    "Evaluation",
    "Failure",
    "History",
    "Learner",
    "Masters",
    "Normalisation",
    "RandomNet",
    "Replay",
    "Session",
    "StepOutcome",
    "VerifyReport",
    "board_of",
    "callbacks",
    "fit_float",
    "random_net",
    "random_train",
    "replay",
    "schedules",
    "verify",
]
