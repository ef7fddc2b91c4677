"""Proofs of equal bits: verify, replay, random networks and what they cover."""

from pynq_train.check.coverage import Coverage
from pynq_train.check.difference import Difference
from pynq_train.check.draw import RandomNet
from pynq_train.check.random_ends import with_random_end
from pynq_train.check.random_nets import random_net
from pynq_train.check.replay import Replay, replay
from pynq_train.check.verify import VerifyReport, verify

__all__ = ["Coverage", "Difference", "RandomNet", "Replay", "VerifyReport", "random_net",
           "replay", "verify", "with_random_end"]
