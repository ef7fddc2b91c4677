"""Stored results of the campaign: one small file per task, written after every training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.accuracy.tasks import Recipe
from pynq_train.files import write_atomic

FOLDER = Path(__file__).parent / "results"
FIXED, FLOAT, SHARED = "fixed", "float32", "shared"
ARITHMETICS = (FIXED, FLOAT)


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        accuracy: on the test set after each epoch (0..1); of a shared training the last one alone.
        cpu_seconds: of the process, evaluation included; None: it was not measured.
        weights: of a shared training, the SHA-256 of what both arithmetics begin with.
    """

    accuracy: tuple[float, ...]
    cpu_seconds: float | None = None
    weights: str | None = None


Pair = dict[str, Run]
"""Runs by :data:`FIXED`, :data:`FLOAT` and, where there is a shared part, :data:`SHARED`."""
Results = dict[int, Pair]
"""Pairs by seed; one that is under way lacks a run."""


def read(task: str, recipe: Recipe, folder: Path = FOLDER) -> Results:
    """Return the stored runs of a task by seed; none if they followed another recipe."""
    path = folder / f"{task}.json"
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["recipe"] != asdict(recipe):
        return {}
    return {int(seed): {kind: Run(tuple(run["accuracy"]), run.get("cpu_seconds"),
                                  run.get("weights")) for kind, run in pair.items()}
            for seed, pair in data["pairs"].items()}


def add(task: str, recipe: Recipe, seed: int, kind: str, run: Run, folder: Path = FOLDER) -> None:
    """Store one run. A shared training with other weights than before ends what began with them."""
    results = read(task, recipe, folder)
    pair = results.setdefault(seed, {})
    if kind == SHARED and (SHARED not in pair or pair[SHARED].weights != run.weights):
        pair.clear()
    pair[kind] = run
    folder.mkdir(exist_ok=True)
    write_atomic(folder / f"{task}.json", _text(recipe, results).encode())


def complete(results: Results) -> dict[int, Pair]:
    """Return the pairs with both arithmetics, by seed in order."""
    return {seed: pair for seed, pair in sorted(results.items())
            if all(kind in pair for kind in ARITHMETICS)}


def _text(recipe: Recipe, results: Results) -> str:
    """Return the file: a run a line, so that changes are easy to read."""
    pairs = []
    for seed, pair in sorted(results.items()):
        runs = ",\n".join(f'   "{kind}": {json.dumps(_plain(run))}'
                          for kind, run in sorted(pair.items()))
        pairs.append(f'  "{seed}": {{\n{runs}\n  }}')
    return (f'{{\n "recipe": {json.dumps(asdict(recipe))},\n "pairs": {{\n'
            + ",\n".join(pairs) + "\n }\n}\n")


def _plain(run: Run) -> dict[str, object]:
    """Return a run as JSON holds it, without what it does not have."""
    return {key: value for key, value in asdict(run).items() if value is not None}
