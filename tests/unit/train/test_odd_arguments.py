"""Functions and classes that users call, with arguments that are something else: one sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import PynqTrainError
from pynq_train.layers import init_params

NET = pt.Sequential((1, 4, 4)).conv(4, 3).dense(3).build()
PARAMS = init_params(NET, 0)
X = np.arange(12 * 16, dtype=np.uint8).reshape(12, 1, 4, 4)
Y = np.arange(12) % 3
JUNK: dict[str, Any] = {
    "None": None, "a number": 3, "text": "x", "bytes": b"a", "a list": [1], "NaN": float("nan"),
    "an object": object(), "a dictionary": {}, "an array": np.zeros(3), "below zero": -1,
    "huge": 10**30, "a set": {1}}


def fit_float(**options: Any) -> Any:
    return pt.fit_float(NET, X, Y, batch=4, **options)


def learner() -> pt.Learner:
    return pt.Learner(NET, batch=4)


CALLS: dict[str, tuple[Callable[[Any], Any], set[str]]] = {
    "pad_images": (lambda v: pt.pad_images(v, 8, 8), set()),
    "pad_images rows": (lambda v: pt.pad_images(X, v, 8), set()),
    "prepare_images": (lambda v: pt.prepare_images(X, v), set()),
    "export_onnx graph": (lambda v: pt.export_onnx(v, PARAMS, "x.onnx"), set()),
    "export_onnx params": (lambda v: pt.export_onnx(NET, v, "x.onnx"), set()),
    "export_onnx names": (lambda v: pt.export_onnx(NET, PARAMS, "x.onnx", class_names=v), set()),
    "export_onnx format": (lambda v: pt.export_onnx(NET, PARAMS, "x.onnx", input_format=v),
                           {"None"}),
    "Model graph": (lambda v: pt.Model(v, PARAMS), set()),
    "Model params": (lambda v: pt.Model(NET, v), set()),
    "Model format": (lambda v: pt.Model(NET, PARAMS, v), set()),
    "Model frozen": (lambda v: pt.Model(NET, PARAMS, frozen=v), set()),
    "Model names": (lambda v: pt.Model(NET, PARAMS, class_names=v), set()),
    "fit_float params": (lambda v: fit_float(params=v), {"None"}),
    "fit_float normalisation": (lambda v: fit_float(normalisation=v), {"None"}),
    "fit_float validation": (lambda v: fit_float(validation_data=v), {"None"}),
    "fit_float seed": (lambda v: fit_float(seed=v), {"a number", "below zero"}),
    "fit_float epochs_before": (lambda v: fit_float(epochs_before=v), {"a number"}),
    "fit_float range": (lambda v: fit_float(input_range=v), {"None"}),
    "fit_float loss": (lambda v: fit_float(loss=v), set()),
    "fit_float trainable": (lambda v: fit_float(trainable=v), set()),
    "Learner loss": (lambda v: pt.Learner(NET, batch=4, loss=v), set()),
    "fit progress": (lambda v: learner().fit(X, Y, progress=v), set()),
    "fit resume": (lambda v: learner().fit(X, Y, progress=False, resume=v), set()),
    "split after": (lambda v: pt.split(NET, after=v, boards=["golden", "golden"]), set()),
    "split boards": (lambda v: pt.split(NET, after=["conv1"], boards=v), set()),
    "board_time": (lambda v: learner().board_time(v), {"a number"}),
    "board_time cycles": (lambda v: learner().board_time(1, v), {"None", "a number"}),
}
"""Calls with one odd argument, and which of them are none."""


@pytest.mark.needs("onnx")
@pytest.mark.parametrize("name", CALLS)
def test_odd_arguments_end_in_one_sentence(name: str, tmp_path: Any,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, good = CALLS[name]
    taken = set()
    for label, value in JUNK.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call(value)
                taken.add(label)
            except PynqTrainError as error:
                assert "\n" not in str(error)
    assert taken == good
