"""A short run of the fuzzer of inputs, and proof that it notices what it looks for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fuzz_inputs import run as fuzzer

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
