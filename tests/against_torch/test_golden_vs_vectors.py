"""Golden against committed results of PyTorch (``make_vectors.py``), where torch is not there."""

from __future__ import annotations

import json
from pathlib import Path

import cases
import golden_layer
import numpy as np
import pytest

from pynq_train.quant import SgdStep

FOLDER = Path(__file__).resolve().parent / "vectors"
LAYER_FILES = sorted(FOLDER.glob("layer*.npz"))
SOFTMAX_FILES = sorted(FOLDER.glob("softmax*.npz"))
SGD_FILES = sorted(FOLDER.glob("sgd*.npz"))


def test_the_vectors_are_there_and_small() -> None:
    files = sorted(FOLDER.glob("*.npz"))
    assert (len(LAYER_FILES), len(SOFTMAX_FILES), len(SGD_FILES)) == (5, 3, 2)
    assert len(files) == 10 and sum(f.stat().st_size for f in files) < 50_000


@pytest.mark.parametrize("file", LAYER_FILES, ids=lambda f: f.stem)
def test_layers(file: Path) -> None:
    stored = np.load(file)
    case = golden_layer.Case(**json.loads(str(stored["case"])))
    data = {k: stored[f"in_{k}"].astype(np.int64) for k in ("x", "w", "b", "dy")}
    got = golden_layer.run_layer(case, data)
    for name, values in got.items():
        np.testing.assert_array_equal(values, stored[name].reshape(values.shape), name)
    assert ("db" in got) == case.bias


@pytest.mark.parametrize("file", SOFTMAX_FILES, ids=lambda f: f.stem)
def test_softmax(file: Path) -> None:
    stored = np.load(file)
    logits, z_shift = stored["logits"].astype(np.int64), int(stored["z_shift"])
    loss, correct, gradient = golden_layer.run_softmax(logits, stored["labels"], z_shift)
    assert correct == int(stored["correct"])
    assert abs(loss - float(stored["loss"])) <= cases.loss_bound(logits, z_shift)
    assert np.abs(gradient - stored["gradient"]).max() <= cases.GRADIENT_CODES


@pytest.mark.parametrize("file", SGD_FILES, ids=lambda f: f.stem)
def test_sgd(file: Path) -> None:
    stored = np.load(file)
    masters, fields = stored["masters"].astype(np.int64), json.loads(str(stored["fields"]))
    for step in stored["sums"]:
        masters, _ = golden_layer.run_update(masters, step, fields)
    real = SgdStep(float(stored["lr"]), float(stored["momentum"]), float(stored["decay"]))
    weight_bound, momentum_bound = cases.sgd_bounds(len(stored["sums"]), real)
    assert np.abs(masters[:, 0] * 2.0**-28 - stored["weights"]).max() <= weight_bound
    if real.momentum:
        assert np.abs(masters[:, 1] * 2.0**-24 - stored["momenta"]).max() <= momentum_bound
