"""A short run of the fuzzer of inputs, and proof that it notices what it looks for."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fuzz_inputs import run as fuzzer

from pynq_train.exchange.draft import Draft
from pynq_train.quant import policy
from pynq_train.train import checkpoint


@pytest.mark.medium
def test_a_short_run_is_clean() -> None:
    report = fuzzer.run(first=100_000, count=250)
    assert report.clean, report.text()
    assert sum(report.counts.values()) == 250
    assert report.of("refused") > 100 and report.of("taken") > 10


class _Blind:
    """A schema that takes everything."""

    def check(self, value: Any, where: str) -> Any:
        return value


@pytest.mark.medium
def test_a_schema_that_takes_everything_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "STATE", _Blind())
    monkeypatch.setattr(policy, "_SAVED", _Blind())
    report = fuzzer.run(first=0, count=40, kind="checkpoint_meta")
    assert report.of("traceback") + report.of("unrefused") > 0 and not report.clean


@pytest.mark.medium
@pytest.mark.parametrize(("planted", "outcome"), [
    (lambda *_: time.sleep(60), "hang"), (lambda *_: 1 / 0, "traceback"),
    (lambda *_: None, "unrefused")])
def test_hangs_tracebacks_and_silence_are_noticed(
        planted: Any, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzer, "SECONDS", 1)
    monkeypatch.setattr("pynq_train.load_npz", planted)
    report = fuzzer.run(first=0, count=3, kind="data_values")
    assert report.of(outcome) == 3 and len(report.bad) == 3


def _unseen(*_: Any) -> None:
    """Check nothing."""


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "target", "planted", "outcome"), [
    ("images", "pynq_train.train.images.check_dtype", _unseen, "unrefused"),
    ("images", "pynq_train.train.images.check_range", lambda *_: None, "unrefused"),
    ("images", "pynq_train.train.images.values_of", lambda a, f: a.astype("f"), "unrefused"),
    ("model_values", "pynq_train.train.learner.check_values", _unseen, "unrefused"),
    ("model_images", "pynq_train.graph.image_format._numbers", lambda w, v: tuple(v), "traceback"),
    ("onnx_metadata", "pynq_train.exchange.onnx_metadata._ours", lambda model, form, *_: form,
     "unrefused"),
    ("data_targets", "pynq_train.train.class_names.check_labels",
     lambda y, *_: np.ravel(y).astype(int), "unrefused"),
    ("command_line", "pynq_train.train.class_names.check_labels", lambda *_: 1 / 0, "traceback")])
def test_models_and_images_that_are_taken_against_the_rules_are_noticed(
        kind: str, target: str, planted: Any, outcome: str, monkeypatch: pytest.MonkeyPatch
        ) -> None:
    monkeypatch.setattr(target, planted)
    report = fuzzer.run(first=0, count=80 if kind == "images" else 25, kind=kind)
    assert report.of(outcome) > 0, report.text()


@pytest.mark.medium
@pytest.mark.needs("onnx", "onnxruntime")
def test_a_network_that_answers_otherwise_than_its_original_is_noticed(
        monkeypatch: pytest.MonkeyPatch) -> None:
    conv = Draft.conv
    monkeypatch.setattr(Draft, "conv", lambda self, source, weight, bias, **more: conv(
        self, source, weight, None, **more))
    report = fuzzer.run(first=0, count=60, kind="imported")
    assert report.of("unrefused") > 0 and "answers are off by" in report.text()
