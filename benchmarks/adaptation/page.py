"""Statistics of the stored adaptations, and the tables of ``docs/adaptation.md``."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from benchmarks.accuracy.page import ROOT, Comparison, between
from benchmarks.adaptation import store
from benchmarks.adaptation.runs import GRID, chosen, rate_of
from benchmarks.adaptation.tasks import (
    DIGITS,
    LAST,
    MINE,
    PER_DIGIT,
    SEEDS,
    SPEAKERS,
    TASKS,
    TESTED,
    VALIDATED,
    places,
)
from pynq_train.adaptation import BATCH, EPOCHS, LADDER

PAGE = ROOT / "docs" / "adaptation.md"
BEGIN = '<!-- rungs: written by "python -m benchmarks.adaptation" -->'
END = "<!-- rungs: end -->"
ALL = "all"
TWINS = ("bias", "norm", "lora", "skip-lora", "da3")
"""Rungs that are compared with the same adaptation in float32."""
TITLES = {SPEAKERS: "spoken digits", DIGITS: "shifted digits"}
BARS = {SPEAKERS: -0.5, DIGITS: -1.0}
"""Points that the best rung may lose against adapting everything, by task."""
TWIN_BAR = -1.0
"""Points that golden may lose against float32."""
BELOW = "BELOW THE BAR"
COLUMNS = 140
"""Longest line of a page."""


def cases_of(task: str) -> list[str]:
    """Return the names of all cases of a task."""
    return [store.key(task, place, seed) for place in places(task) for seed in SEEDS]


def compare(pairs: Sequence[tuple[float, float]]) -> Comparison | None:
    """Return the comparison of pairs of accuracies (0..1), None for none."""
    if not pairs:
        return None
    differences = [100 * (one - other) for one, other in pairs]
    return Comparison(len(pairs), 100 * mean(one for one, _ in pairs),
                      100 * mean(other for _, other in pairs), mean(differences),
                      stdev(differences) if len(pairs) > 1 else math.inf)


def against_all(runs: store.Runs, task: str, rung: str) -> Comparison | None:
    """Return a rung against adapting everything, on golden, over the cases that have both."""
    both = [(own[rung][store.GOLDEN], own[ALL][store.GOLDEN])
            for own in _known(runs, task) if rung in own and ALL in own]
    return compare(both)


def against_twin(runs: store.Runs, task: str, rung: str) -> Comparison | None:
    """Return golden against float32, over the cases that have both."""
    return compare([(own[rung][store.GOLDEN], own[rung][store.FLOAT])
                    for own in _known(runs, task) if store.FLOAT in own.get(rung, {})])


def verdict(found: Comparison | None, bar: float, wanted: int) -> str:
    """Return what pairs say: whether mean plus two standard errors is not below the bar."""
    if found is None or found.pairs < wanted:
        return f"{0 if found is None else found.pairs} of {wanted} pairs so far"
    return BELOW if found.difference + 2 * found.error < bar else "holds"


def best_rung(runs: store.Runs, task: str) -> str | None:
    """Return the rung with the highest mean accuracy of those that do not adapt everything."""
    means = {rung: value for rung in LADDER if rung != ALL
             and (value := _mean(runs, cases_of(task), rung)) is not None}
    return max(means, key=lambda rung: means[rung]) if means else None


def failures(runs: store.Runs) -> list[str]:
    """Return what is below its bar, as lines for people; complete comparisons alone count."""
    return [line for line in _verdicts(runs) if BELOW in line]


def lines(runs: store.Runs, rates: store.Rates) -> list[str]:
    """Return what stands between the marks of the page."""
    rate = {**{rung: rate_of(rung) for rung in LADDER}, **chosen(rates)}
    rows = ["| rung | learning rate | spoken digits, % | points against `all` | golden minus "
            "float32 | shifted digits, % | points against `all` |",
            "|---|---|---|---|---|---|---|",
            f"| before | | {_percent(runs, SPEAKERS, store.BEFORE)} | | | "
            f"{_percent(runs, DIGITS, store.BEFORE)} | |"]
    for rung in LADDER:
        own = [""] * 2 if rung == ALL else [_text(against_all(runs, task, rung))
                                            for task in TASKS]
        rows.append(f"| `{rung}` | {rate[rung]:g} | {_percent(runs, SPEAKERS, rung)} | {own[0]} | "
                    f"{_text(against_twin(runs, SPEAKERS, rung))} | "
                    f"{_percent(runs, DIGITS, rung)} | {own[1]} |")
    tables = [line for task in TASKS for line in ("", *_by_place(runs, task))]
    return [*_how(), "", *rows, "", *(f"* {line}" for line in _verdicts(runs)), *tables]


def write_page(path: Path = PAGE, results: Path = store.PATH) -> None:
    """Write the tables of the stored results into the page.

    Raises:
        BadInput: the page has no place for them.
    """
    text = path.read_text(encoding="utf-8")
    path.write_text(between(text, BEGIN, END, lines(*store.read(results)),
                            f"{path.name}: place of the rungs' accuracies"), encoding="utf-8")


def _how() -> list[str]:
    text = (f"{EPOCHS} epochs, mini-batch {BATCH}, on golden; mean of {len(SEEDS)} seeds and of "
            f"{len(places(SPEAKERS))} held-out speakers or {len(places(DIGITS))} shifts. *Spoken "
            f"digits*: {10 * PER_DIGIT} recordings of a speaker whom the network has never heard; "
            f"the rest of the speaker's tests ({10 * LAST - 10 * PER_DIGIT}). *Shifted digits*: "
            f"{MINE} images of a shifted copy of MNIST, {TESTED:,} to test. Differences are means "
            "of pairs and their standard errors.")
    rates = (f"Learning rates are of {', '.join(f'{lr:g}' for lr in GRID)}, chosen by steps until "
             "both neighbours were worse, in float32, with networks, adapters and orders of "
             "another seed, on the last ten recordings of each digit of each speaker, which test "
             f"nothing here, and on training images of MNIST in each shift ({VALIDATED} to compare "
             "on): the best mean of both.")
    return [*textwrap.wrap(text, COLUMNS), "", *textwrap.wrap(rates, COLUMNS)]


def _verdicts(runs: store.Runs) -> list[str]:
    found = []
    for task in TASKS:
        best, wanted = best_rung(runs, task), len(cases_of(task))
        one = None if best is None else against_all(runs, task, best)
        found.append(f"{TITLES[task]}, best rung against `all` (bar {BARS[task]:g}): "
                     f"{'none' if best is None else f'`{best}`'} {_text(one)}; "
                     f"{verdict(one, BARS[task], wanted)}")
    for rung in TWINS:
        one = against_twin(runs, SPEAKERS, rung)
        found.append(f"{TITLES[SPEAKERS]}, `{rung}`, golden against float32 (bar {TWIN_BAR:g}): "
                     f"{_text(one)}; {verdict(one, TWIN_BAR, len(cases_of(SPEAKERS)))}")
    return found


def _by_place(runs: store.Runs, task: str) -> list[str]:
    """Return a table of a task: a row for each speaker or shift, a column for each rung."""
    columns = (store.BEFORE, *LADDER)
    rows = [f"| {TITLES[task]}, % | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 1) + "|"]
    for place in places(task):
        names = [store.key(task, place, seed) for seed in SEEDS]
        rows.append(f"| {place} | " + " | ".join(
            _number(_mean(runs, names, rung)) for rung in columns) + " |")
    return rows


def _known(runs: store.Runs, task: str) -> list[Mapping[str, Mapping[str, float]]]:
    return [runs[name] for name in cases_of(task) if name in runs]


def _mean(runs: store.Runs, names: Sequence[str], rung: str) -> float | None:
    """Return the mean accuracy on golden over those cases that have it, percent."""
    values = [runs[name][rung][store.GOLDEN] for name in names if rung in runs.get(name, {})]
    return 100 * mean(values) if values else None


def _percent(runs: store.Runs, task: str, rung: str) -> str:
    return _number(_mean(runs, cases_of(task), rung))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _text(found: Comparison | None) -> str:
    return "" if found is None else found.text()
