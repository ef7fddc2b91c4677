"""Statistics of the stored pairs, ``docs/accuracy.md`` and the README's table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from benchmarks.accuracy.store import FIXED, FLOAT, SHARED, Pair, Results, complete
from benchmarks.accuracy.tasks import DATA_SETS, TASKS, Recipe, Task
from pynq_train.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "accuracy.md"
README = ROOT / "README.md"
BAR = -0.5
"""Points that fixed point may lose: mean difference plus two standard errors is not below."""
WANTED_ERROR = 0.3
"""Standard error, in points, up to which pairs are added."""
BEGIN = '<!-- accuracy: written by "python -m benchmarks.accuracy" -->'
END = "<!-- accuracy: end -->"

BELOW, LOSS = "BELOW THE BAR", "A LOSS"
FAILURES = (BELOW, LOSS)
"""Verdicts for which a cause is to be found."""


@dataclass(frozen=True)
class Comparison:
    """Fixed point minus float32 over pairs of equal seeds, after the last epoch.

    Attributes:
        pairs: how many, at least one.
        fixed, other: mean accuracy of fixed point and of float32, percent.
        difference: mean of the differences of the pairs, points.
        deviation: standard deviation of these differences (of a sample), points; infinite for one
            pair, which says nothing about it.
    """

    pairs: int
    fixed: float
    other: float
    difference: float
    deviation: float

    @property
    def error(self) -> float:
        """Standard error of the mean difference, points."""
        return self.deviation / math.sqrt(self.pairs)

    @property
    def needed(self) -> int:
        """Pairs with which the standard error would be the one wanted, at this deviation."""
        return math.ceil((self.deviation / WANTED_ERROR) ** 2)

    def text(self) -> str:
        """Return the mean difference and its standard error: ``-0.02 ± 0.03``."""
        if math.isinf(self.error):
            return f"{self.difference:+.2f}, one pair"
        return f"{self.difference:+.2f} ± {self.error:.2f}"


def compare(results: Results) -> Comparison | None:
    """Return the comparison of all complete pairs, None if there is none."""
    both = [(_last(pair, FIXED), _last(pair, FLOAT)) for pair in complete(results).values()]
    if not both:
        return None
    differences = [fixed - other for fixed, other in both]
    return Comparison(len(both), mean(fixed for fixed, _ in both), mean(other for _, other in both),
                      mean(differences), stdev(differences) if len(both) > 1 else math.inf)


def verdict(found: Comparison, task: Task) -> str:
    """Return what the pairs say, in the words that the page explains."""
    upper = found.difference + 2 * found.error
    if found.pairs < task.pairs:
        return f"{found.pairs} of {task.pairs} pairs so far"
    if upper < BAR:
        return BELOW
    if upper < 0:
        return LOSS
    if found.error > WANTED_ERROR:
        return "too wide a spread"
    return "holds"


def wanted(results: Results, task: Task) -> bool:
    """Return whether another pair of this task is to be trained."""
    found = compare(results)
    pairs = 0 if found is None else found.pairs
    if found is None or pairs < task.pairs:
        return True
    return found.error > WANTED_ERROR and pairs < task.most


def cpu_minutes(results: Results) -> tuple[float, int] | None:
    """Return the mean CPU minutes of a complete pair, and of how many pairs it was measured."""
    measured = []
    for pair in complete(results).values():
        seconds = [run.cpu_seconds for run in pair.values()]
        known = [value for value in seconds if value is not None]
        if len(known) == len(seconds):
            measured.append(sum(known) / 60)
    return (mean(measured), len(measured)) if measured else None


def page(tables: Mapping[str, Results]) -> str:
    """Return the page of all results, ``tables`` by name of the task."""
    lines = [_INTRO, *table(tables), "", _WORDS, *_reasons(tables), *_recipes(tables),
             *_singles(tables)]
    missing = [name for name, results in tables.items() if compare(results) is None]
    if missing:
        lines += ["", "Not run yet: " + ", ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def table(tables: Mapping[str, Results]) -> list[str]:
    """Return the table of comparisons, also for the README."""
    lines = ["| network, data | in fixed point | pairs | fixed point | float32 | difference | |",
             "|---|---|---|---|---|---|---|"]
    for name, results in tables.items():
        found = compare(results)
        if found is not None:
            task = TASKS[name]
            lines.append(f"| {_what(task.recipe)} | {_part(task.recipe)} | {found.pairs} | "
                         f"{found.fixed:.2f} % | {found.other:.2f} % | {found.text()} | "
                         f"{verdict(found, task)} |")
    return lines


def in_readme(text: str, tables: Mapping[str, Results]) -> str:
    """Return the README's text with the present table between its two marks.

    Raises:
        BadInput: the marks are not there, once each and in order.
    """
    return between(text, BEGIN, END, table(tables), "README: place of the accuracy table")


def between(text: str, first: str, last: str, lines: Sequence[str], what: str) -> str:
    """Return a text with other lines between two marks.

    Args:
        text: the text.
        first: the mark in front.
        last: the mark behind.
        lines: what is to stand between them, an empty line on each side.
        what: what these lines are, for the error.

    Raises:
        BadInput: the marks are not there, once each and in order.
    """
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after:
        raise BadInput(what, found="other marks", fix="put them back",
                       expected=f"one line {first!r} and behind it one line {last!r}")
    return "\n".join([before + begin, "", *lines, "", end + after])


def _last(pair: Pair, kind: str) -> float:
    """Return the accuracy after the last epoch, percent."""
    return 100 * pair[kind].accuracy[-1]


def _what(recipe: Recipe) -> str:
    return f"{recipe.net}, {DATA_SETS[recipe.data].title}"


def _part(recipe: Recipe) -> str:
    """Say which epochs each arithmetic trains by itself."""
    total = recipe.epochs + recipe.float_epochs
    if not recipe.float_epochs:
        return f"all {total} epochs"
    return f"the last of {total}" if recipe.epochs == 1 else f"the last {recipe.epochs} of {total}"


def _reasons(tables: Mapping[str, Results]) -> list[str]:
    """Say of each task that stays above the standard error wanted why it is left there."""
    lines = []
    for name, results in tables.items():
        found, task, cost = compare(results), TASKS[name], cpu_minutes(results)
        if found is None or found.pairs < task.most or found.error <= WANTED_ERROR or not task.why:
            continue
        price = f", {found.needed * cost[0] / 60:.2g} CPU hours" if cost else ""
        lines.append(f"* {name}: {task.why}. A standard error of {WANTED_ERROR} would take some "
                     f"{found.needed} pairs{price}.")
    return ["", "Why no more pairs were trained:", "", *lines] if lines else []


def _recipes(tables: Mapping[str, Results]) -> list[str]:
    lines = ["", "## What was trained", "",
             "*Shared*: epochs in float32 (PyTorch) before, from which both arithmetics go on with "
             "momentum zero; *own*: epochs of each",
             "arithmetic. *Rate*: the peak; it rises over 50 steps, a quarter of the training at "
             "most, and falls on a line to zero. CPU time, one core:",
             "of a pair with both arithmetics, shared part and evaluations; hours of all pairs "
             "(pairs that were not timed: as the others).", "",
             "| task | images | tested on | shared | own | batch | rate | CPU min. | CPU hours |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, results in tables.items():
        recipe, pairs, cost = TASKS[name].recipe, len(complete(results)), cpu_minutes(results)
        if pairs:
            price = f"{cost[0]:.2g} | {cost[0] * pairs / 60:.2g}" if cost else "not measured | "
            tested = DATA_SETS[recipe.data].tested
            lines.append(f"| {name} | {recipe.train_images:,} | {tested:,} | "
                         f"{recipe.float_epochs or ''} | {recipe.epochs} | {recipe.batch} | "
                         f"{recipe.lr} | {price} |")
    return lines


def _singles(tables: Mapping[str, Results]) -> list[str]:
    lines = ["", "## Single pairs", "",
             "Test accuracy after the last epoch [%]; *shared*: before the arithmetics part.", "",
             "| task | seed | shared | fixed point | float32 | difference |",
             "|---|---|---|---|---|---|"]
    for name, results in tables.items():
        for seed, pair in complete(results).items():
            fixed, other = _last(pair, FIXED), _last(pair, FLOAT)
            before = f"{_last(pair, SHARED):.2f}" if SHARED in pair else ""
            lines.append(f"| {name} | {seed} | {before} | {fixed:.2f} | {other:.2f} | "
                         f"{fixed - other:+.2f} |")
    return lines


_INTRO = """<!-- Written by "python -m benchmarks.accuracy". Do not edit. -->

# Accuracy: fixed point against float32

Pairs of equal seeds: both arithmetics start from the same weights and see the same images in the
same order with the same learning rates; nothing was tuned for either. Fixed point is the golden
backend, which the RTL equals bit for bit ([testing.md](testing.md)). Trainings are short, so that
they can be repeated on a desk: they compare arithmetics, they are no records.

    python -m benchmarks.accuracy --data ../shared/data

trains what is missing, and can be interrupted: every training is stored when it ends, and one in
fixed point goes on from its last checkpoint. `python -m benchmarks.accuracy` writes this page from
what is stored.

Two kinds of pairs. *all N epochs*: each arithmetic trains by itself from the start. Small networks
say with these whether they are equal; large ones do not, since two trainings that differ in one
rounding part early and end points apart. *the last of N*: PyTorch trains in float32, and from there
each arithmetic goes on through the last epoch, down the end of the schedule. There is far less
noise, and it asks less: what an arithmetic does at high rates is not in it.

Mean test accuracy after the last epoch; *difference*: mean of fixed point minus float32 over the
pairs, in points, and its standard error.
"""

_WORDS = """*holds*: there are as many pairs as wanted (twenty of a training of seconds, ten of a
short one, five of a long one), the mean difference plus two standard errors is not below zero, and
the standard error is at most 0.3. *A LOSS*: that sum is below zero: fixed point is worse, if within
the bar of -0.5 point. *BELOW THE BAR*: the sum is below -0.5. *too wide a spread*: the standard
error is above 0.3; these pairs show no loss, and could not show a small one. Lines with fewer pairs
than wanted say nothing yet: the campaign goes on by the command above."""
