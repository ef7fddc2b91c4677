"""Stored results: one file, a case a line, written after every adaptation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.adaptation.tasks import BASES, MINE, PER_DIGIT, TESTED, VALIDATED, network
from pynq_train.adaptation import BATCH, EPOCHS
from pynq_train.files import write_atomic

PATH = Path(__file__).parents[1] / "results" / "adaptation.json"
GOLDEN, FLOAT, BEFORE = "golden", "float32", "before"
Runs = dict[str, dict[str, dict[str, float]]]
"""What is known of each case, by ``task/place/seed`` and rung: ``lr``, and the accuracies (0..1)
``golden`` and, where there is a twin, ``float32``. The rung ``before`` is the base network."""
Rates = dict[str, dict[str, dict[str, float]]]
"""Accuracy by rung, rate and task with which rates are chosen."""


def recipe() -> dict[str, Any]:
    """Return how everything is trained; results of another recipe are not counted."""
    digest = hashlib.sha256(network().to_json().encode()).hexdigest()[:16]
    return {"network": digest, "epochs": EPOCHS, "batch": BATCH, "per_digit": PER_DIGIT,
            "mine": MINE, "tested": TESTED, "validated": VALIDATED,
            "bases": {task: asdict(base) for task, base in BASES.items()}}


def key(task: str, place: str, seed: int) -> str:
    """Return the name of a case."""
    return f"{task}/{place}/{seed}"


def read(path: Path = PATH) -> tuple[Runs, Rates]:
    """Return the stored runs, and what rates were chosen by; nothing of another recipe."""
    if not path.exists():
        return {}, {}
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["recipe"] != recipe():
        return {}, {}
    return data["runs"], data["rates"]


def write(runs: Runs, rates: Rates, path: Path = PATH) -> None:
    """Write all results."""
    parts = [f' "recipe": {json.dumps(recipe())}',
             f' "rates": {_lines(rates)}', f' "runs": {_lines(runs)}']
    path.parent.mkdir(exist_ok=True)
    write_atomic(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def _lines(values: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a JSON object whose entries have a line each, or of each of their entries."""
    rows = []
    for name, value in values.items():
        inner = ",\n".join(f'   "{one}": {json.dumps(what)}' for one, what in value.items())
        rows.append(f'  "{name}": {{\n{inner}\n  }}')
    return "{\n" + ",\n".join(rows) + "\n }" if rows else "{}"
