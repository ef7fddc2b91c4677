"""Is this machine fit to train? One small function per question, one line per answer.

``pynq-train doctor`` prints them; see :func:`examine`. The same code runs on virtual and on real
boards.
"""

from pynq_train.doctor.check import Check, State
from pynq_train.doctor.examine import DEFAULT_NET, Patient, examine
from pynq_train.doctor.host import Host
from pynq_train.doctor.loopback import loop_back
from pynq_train.doctor.step import step_against_golden

__all__ = ["DEFAULT_NET", "Check", "Host", "Patient", "State", "examine", "loop_back",
           "step_against_golden"]
