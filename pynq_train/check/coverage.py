"""Functional coverage: which shapes and options the compared descriptors had.

A cross is a combination of options, each combination of their values a bin. A bin that no
descriptor falls into was never compared. Descriptors of one kind make a group: a pass of the array,
or a role of another unit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import product

from pynq_train.check import array_bins, vector_bins
from pynq_train.check.bins import ON_OFF, Axes, Bin, part_of
from pynq_train.check.options import Options
from pynq_train.hw.commands import DESCRIPTOR_BYTES, unpack_descriptor
from pynq_train.quant.loss import BINARY, MSE
from pynq_train.schedule.lower.program import ProgramImage
from pynq_train.schedule.plan import Plan

_STEP = "step"
"""Group of what stands in the step block, once for each network."""
_LOSSES = ("cross-entropy", "smoothed", "squared error")
_HOST_LOSSES = ("cross-entropy", "weighted cross-entropy", "binary", "weighted binary",
                "squared error of numbers", "huber")
_OUTPUTS = ("vector", "map")


def _crosses() -> dict[str, dict[str, Axes]]:
    """Return all crosses by group, and the values of each of their axes."""
    step: dict[str, Axes] = {"loss": (_LOSSES,), "momentum x Nesterov": (ON_OFF, ON_OFF),
                             "mini-batches of an update": (("1", "2"),),
                             "incomplete mini-batch": (ON_OFF,),
                             "loss of the host x output": (_HOST_LOSSES, _OUTPUTS)}
    return {**array_bins.crosses(), **vector_bins.crosses(), _STEP: step}


# Bare weights have no momentum that could look ahead; the softmax unit reads vectors of classes.
_IMPOSSIBLE = {(_STEP, "momentum x Nesterov", ("0", "1")),
               (_STEP, "loss of the host x output", ("cross-entropy", "vector")),
               (_STEP, "loss of the host x output", ("weighted cross-entropy", "vector"))}


@dataclass
class Coverage:
    """Counts of every bin over the descriptors that were added.

    Attributes:
        counts: descriptors by group, cross and bin.
    """

    counts: dict[tuple[str, str, Bin], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start all bins at zero."""
        for group, crosses in _crosses().items():
            for cross, axes in crosses.items():
                for values in product(*axes):
                    if (group, cross, values) not in _IMPOSSIBLE:
                        self.counts.setdefault((group, cross, values), 0)

    def add_program(self, program: ProgramImage, plan: Plan) -> None:
        """Count the descriptors of a program, as its bytes say.

        Weight gradients of one entry of the step block are slices of one layer.
        """
        found = [unpack_descriptor(program.program[at : at + DESCRIPTOR_BYTES])
                 for at in range(0, len(program.program), DESCRIPTOR_BYTES)]
        # Slices of a layer follow each other in order: the first one finds all of them left, the
        # last one only itself.
        left = Counter(d["pre.param"] for d in found if "u.u_rows" in d and "g.g_pass" in d)
        whole = left.copy()
        for d, descriptor in zip(found, program.descriptors):
            if descriptor.role in vector_bins.UNITS:
                self._count(vector_bins.UNITS[descriptor.role], vector_bins.values(
                    d, descriptor, plan, program.name == "train"))
                continue
            param = d["pre.param"]
            first, last = left[param] == whole[param], left[param] <= 1
            left[param] -= 1
            slices = array_bins.SLICES
            self._count(array_bins.group_of(d), array_bins.values(
                d, part_of(descriptor, plan.batch), slices[0] if first and last else
                slices[1] if first else slices[3] if last else slices[2],
                array_bins.weights_of(plan.layers[descriptor.layer])))

    def add_options(self, options: Options, plan: Plan) -> None:
        """Count what a network is trained with."""
        loss, batch = plan.loss, plan.batch
        if loss.on_host:
            kind = {BINARY: "binary", MSE: "squared error of numbers"}.get(loss.kind, loss.kind)
            of: dict[str, Bin] = {"loss of the host x output": (
                f"weighted {kind}" if loss.weights else kind,
                _OUTPUTS[plan.layers[-1].out_shape[1:] != (1, 1)])}
        else:
            of = {"loss": ("smoothed" if loss.smoothing else
                           "squared error" if loss.mse else loss.kind,)}
        self._count(_STEP, {
            **of,
            "momentum x Nesterov": (str(int(options.momentum > 0)), str(int(options.nesterov))),
            "mini-batches of an update": (str(options.accumulate),),
            "incomplete mini-batch": (str(int(options.valid(batch, True) < batch)),)})

    def _count(self, group: str, values: dict[str, Bin]) -> None:
        """Count the bins of one descriptor of a group."""
        for cross, value in values.items():
            if (group, cross, value) in self.counts:  # what is left out has no meaning there
                self.counts[group, cross, value] += 1

    def merge(self, other: Coverage) -> None:
        """Add the counts of ``other``."""
        for key, count in other.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.counts)

    @property
    def hit(self) -> int:
        """Bins with at least one descriptor."""
        return sum(count > 0 for count in self.counts.values())

    def missing(self) -> list[str]:
        """Return the bins without a descriptor, as text."""
        return [f"{group}: {cross} = {', '.join(values)}"
                for (group, cross, values), count in self.counts.items() if not count]

    def table(self) -> str:
        """Return a line per group and cross: bins hit, bins, and fewest hits of a bin."""
        lines = [f"{'group':<16} {'cross':<28} {'hit':>5} {'bins':>5} {'fewest':>7}"]
        groups: dict[tuple[str, str], list[int]] = {}
        for (group, cross, _), count in self.counts.items():
            groups.setdefault((group, cross), []).append(count)
        for (group, cross), counts in groups.items():
            hit = sum(count > 0 for count in counts)
            lines.append(f"{group:<16} {cross:<28} {hit:>5} {len(counts):>5} "
                         f"{min(counts):>7}")
        lines.append(f"{'all':<16} {'':<28} {self.hit:>5} {self.bins:>5}")
        return "\n".join(lines)
