"""NumPy on a processor of 32 bits: counts and look-ups take no numbers of 64 bits."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.graph import Graph
from pynq_train.graph.image_format import ANY_IMAGES
from pynq_train.quant.array_policy import ArrayPolicy
from pynq_train.schedule.lower.step_arrays import ResultTable
from pynq_train.train.images import ImageSource


def narrow(indices: Any) -> None:
    """What NumPy does there with indices of 64 bits."""
    if not np.can_cast(np.asarray(indices).dtype, np.int32, "safe"):
        raise TypeError("Cannot cast array data from dtype('int64') to dtype('int32')")


class Narrow(np.ndarray):
    """An array of such a processor."""

    def take(self, indices: Any, *args: Any, **options: Any) -> Any:
        """As NumPy's, there."""
        narrow(indices)
        return np.asarray(self).take(indices, *args, **options)


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make NumPy's index type 32 bits wide, as far as Python sees."""
    count = np.bincount

    def narrow_count(labels: Any, *args: Any, **options: Any) -> Any:
        narrow(labels)
        return count(labels, *args, **options)

    monkeypatch.setattr(np, "intp", np.int32)
    monkeypatch.setattr(np, "bincount", narrow_count)


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arrays of a training that are looked up by places, as such a processor has them."""
    words, settle = ResultTable.words, ArrayPolicy.settle
    seen: list[str] = []

    def narrow_words(table: ResultTable, records: Any) -> Any:
        seen.append("records")
        return words(table, records).view(Narrow)

    def narrow_settle(policy: ArrayPolicy) -> Any:
        found = settle(policy)
        seen.append("exponents")
        found.vector = found.vector.view(Narrow)
        return found

    monkeypatch.setattr(ResultTable, "words", narrow_words)
    monkeypatch.setattr(ArrayPolicy, "settle", narrow_settle)
    return seen


def test_a_training_counts_labels_of_64_bits(net: Graph, looked_up: list[str]) -> None:
    """Labels from a file have 64 bits on every machine; what a step looks up has 32."""
    learner = pt.Learner(net, batch=3, optimizer=pt.SGD(lr=0.01, schedule="constant"))
    x = np.random.default_rng(1).integers(0, 256, (6, 6, 6), np.uint8)
    history = learner.fit(x, np.arange(6, dtype=np.int64) % 3, progress=False)
    assert len(history.epochs) == 1
    assert {"records", "exponents"} == set(looked_up)


def test_pixels_are_looked_up_by_order() -> None:
    """The order of the images has 64 bits."""
    x = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), np.uint8)
    source = ImageSource(x, (3, 4, 4), ANY_IMAGES)
    source._given = x.view(Narrow)
    order = np.array([4, 0, 2], np.int64)
    assert (source.pixels(order) == x[order].transpose(0, 3, 1, 2)).all()
    with pytest.raises(TypeError, match="Cannot cast"):
        source._given.take(order, axis=0)


def test_all_counts_are_of_numbers_of_the_processors_size() -> None:
    """Wherever numbers are counted they are made so, or are bytes."""
    found = []
    for path in sorted(Path(pt.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.bincount":
                found.append(ast.unparse(node.args[0]))
    assert len(found) >= 3
    pixels = "part[:, channel].reshape(-1)"  # uint8
    assert [text for text in found if not text.endswith(".astype(np.intp)")] in ([], [pixels])
