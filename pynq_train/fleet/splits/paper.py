"""Gacoin's tables on ResNet-20, recomputed from its own measurements (its Table II).

"Distributing deep neural networks for maximising computing capabilities and power efficiency in
swarm". Nothing here is ours: times, watts and accuracies are the paper's, formulas are those of
:mod:`pynq_train.fleet.splits.criteria`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pynq_train.fleet.power import GACOIN, Power
from pynq_train.fleet.splits.criteria import (
    accuracy_per_joule,
    frames_per_joule,
    relay_frames_per_joule,
)

NETWORK = "resnet20"
"""The paper's network, as the zoo names it."""


@dataclass(frozen=True)
class Measured:
    """The paper's seconds of the parts of a network that is cut behind layer ``k``, and accuracies.

    Attributes:
        head: the first k layers on one device.
        tail: the layers behind them.
        branch: one of two branches of the first k layers.
        two: accuracy with two branches; one run.
        four: accuracy with four; one run.
    """

    head: float
    tail: float
    branch: float
    two: float
    four: float


@dataclass(frozen=True)
class Line:
    """A line of the recomputed tables.

    Attributes:
        name: what is computed.
        value: the recomputed value.
        formula: how, with the paper's names.
        cut: the k of the best cut, None where there is none.
        deviation: in what the paper differs; empty: nowhere that is known.
    """

    name: str
    value: float
    formula: str
    cut: int | None = None
    deviation: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {"name": self.name, "value": self.value, "formula": self.formula, "cut": self.cut,
                "deviation": self.deviation}


WHOLE_S, WHOLE_ACCURACY = 0.097, 0.915
"""Seconds and accuracy of the whole network on one device."""
TABLE_II: Mapping[int, Measured] = MappingProxyType({
    6: Measured(0.05410, 0.05142, 0.02971, 0.9099, 0.9132),
    9: Measured(0.0669, 0.04052, 0.03455, 0.9083, 0.9061),
    12: Measured(0.08826, 0.00462, 0.05809, 0.8886, 0.8578),
})
"""What was measured, by k."""
PRINTED_THREE = 8.3
"""N / E of three devices as the paper prints it."""


def best_cut(stages: Callable[[Measured], tuple[float, ...]], power: Power = GACOIN) -> int:
    """Return the k with the most images per joule.

    Args:
        stages: seconds of each device of a cut.
        power: watts of a device.
    """
    return max(TABLE_II, key=lambda k: frames_per_joule(stages(TABLE_II[k]), power))


def lines(power: Power = GACOIN) -> tuple[Line, ...]:
    """Return the recomputed tables, each deviation of the paper named.

    Args:
        power: watts of a device (default: the paper's).
    """
    pair = best_cut(lambda own: (own.head, own.tail), power)
    three = best_cut(lambda own: (own.branch, own.branch, own.tail), power)
    two_cut, three_cut = TABLE_II[pair], TABLE_II[three]
    pair_n = frames_per_joule((two_cut.head, two_cut.tail), power)
    text_n = frames_per_joule((two_cut.head, two_cut.branch), power)
    three_n = frames_per_joule((three_cut.branch, three_cut.tail), power)
    base = frames_per_joule([WHOLE_S], power)
    ways = (("whole", None, WHOLE_ACCURACY, (WHOLE_S,), "t_base"),
            ("two devices", pair, WHOLE_ACCURACY, (two_cut.head, two_cut.tail), "head + tail"),
            ("three devices", three, three_cut.two,
             (three_cut.branch, three_cut.branch, three_cut.tail), "2 branch + tail"))
    found = [
        Line("N/E, one device", base, "1 / (Pc t_base)"),
        Line("N/E, two devices", pair_n, "1 / (Pc max(head, tail))", pair,
             "the text says max(head, branch), which leaves out the second device "
             f"({text_n:.3f} at this k)"),
        Line("N/E, three devices", three_n, "1 / (Pc max(branch, tail))", three,
             f"printed as {PRINTED_THREE}, which its Table II does not yield"),
        Line("N/E, two relays", relay_frames_per_joule(WHOLE_S, power, 2),
             "(1 + q) / (Pc t_base), q = 1 - Pidle / Pc", None, "printed truncated, not rounded"),
        Line("N/E, three relays", relay_frames_per_joule(WHOLE_S, power, 3),
             "(1 + q + q^2) / (Pc t_base)", None, "printed truncated, not rounded"),
    ]
    for name, k, accuracy, times, text in ways:
        printed = accuracy_per_joule(accuracy, times, None)
        found.append(Line(f"P, {name}", accuracy_per_joule(accuracy, times, power),
                          f"accuracy / (Pc ({text}))", k,
                          f"printed without Pc: {printed:.2f}"))
    return tuple(found)


def table(power: Power = GACOIN) -> str:
    """Return the recomputed tables as text, the measurements behind them first."""
    rows = ["Gacoin's splits of ResNet-20, recomputed from its Table II (its measurements, its "
            "devices)",
            f"Pc {power.compute_w:g} W, Pidle {power.idle_w:g} W, t_base {WHOLE_S:g} s, accuracy "
            f"{WHOLE_ACCURACY:g}", "",
            f"{'k':>3} {'head s':>9} {'tail s':>9} {'branch s':>9} {'2-split':>9} {'4-split':>9}"]
    rows += [f"{k:>3} {own.head:>9.5f} {own.tail:>9.5f} {own.branch:>9.5f} {own.two:>9.4f} "
             f"{own.four:>9.4f}" for k, own in TABLE_II.items()]
    rows += ["accuracies: one run each", "",
             f"{'':<20} {'recomputed':>10} {'k':>3}  {'formula':<42} deviation of the paper"]
    rows += [f"{one.name:<20} {one.value:>10.3f} {'' if one.cut is None else one.cut:>3}  "
             f"{one.formula:<42} {one.deviation or '-'}" for one in lines(power)]
    return "\n".join(rows)


def to_dict(power: Power = GACOIN) -> dict[str, object]:
    """Return measurements and recomputed tables as plain values for JSON."""
    return {"power": power.to_dict(), "whole_s": WHOLE_S, "whole_accuracy": WHOLE_ACCURACY,
            "table_ii": {str(k): vars(own) for k, own in TABLE_II.items()},
            "lines": [one.to_dict() for one in lines(power)]}
