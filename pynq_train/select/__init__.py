"""Which model a device should run, and how much of it should adapt, by what its user thinks of it.

::

    arms = pt.select.make_arms(["digits", "lenet5"], ["pynq-z2"])
    selector = pt.select.Selector(arms, {"kitchen": "pynq-z2"})
    choice = selector.choose("kitchen", pt.select.Situation(
        battery=0.7, temperature_c=41, deadline_s=2, free_bytes=1 << 20, classes=10, samples=50,
        shift=0.2))
    selector.reward(choice.ticket, 0.8)
"""

from pynq_train.select.arms import Arm, Cost, make_arms
from pynq_train.select.features import FEATURES, Situation, class_shift
from pynq_train.select.policies import POLICIES, UCB1, EpsilonGreedy, LinearEpsilon, LinUCB
from pynq_train.select.selector import Choice, Selector

__all__ = [
    "FEATURES",
    "POLICIES",
    "UCB1",
    "Arm",
    "Choice",
    "Cost",
    "EpsilonGreedy",
    "LinUCB",
    "LinearEpsilon",
    "Selector",
    "Situation",
    "class_shift",
    "make_arms",
]
