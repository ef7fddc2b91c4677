"""What the learning rate does is said: in the first line of fit, in --help; a rate may stay."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.cli.main import main
from pynq_train.graph import Graph
from pynq_train.train.schedules import Constant, Cosine, Linear, Schedule

Data = tuple[np.ndarray, np.ndarray]


@pytest.mark.parametrize("schedule", ["constant", Constant()])
def test_one_word_keeps_the_rate(schedule: str | Schedule) -> None:
    sgd = pt.SGD(0.05, schedule=schedule)
    assert sgd.stays and {sgd.rate(step, 25) for step in range(25)} == {0.05}
    assert not pt.SGD(0.05, schedule=schedule, warmup_steps=2).stays


def test_what_nobody_has_said() -> None:
    sgd = pt.SGD(0.05)
    explicit = pt.SGD(0.05, schedule="linear", warmup_steps=50)
    assert [sgd.rate(s, 300) for s in range(300)] == [explicit.rate(s, 300) for s in range(300)]
    assert explicit.stated and not sgd.stated
    assert not pt.SGD(0.05, schedule="cosine").stated and not pt.SGD(0.05, warmup_steps=9).stated
    assert pt.SGD.from_dict(sgd.to_dict()) == sgd


@pytest.mark.parametrize(("sgd", "text"), [
    (pt.SGD(0.05), "SGD(lr=0.05): warm-up over 6 steps from 0.0083, then linear to 0.0026 in step "
     "25, the last"),
    (pt.SGD(0.05, schedule="cosine", warmup_steps=0), "SGD(lr=0.05): cosine to 0.0002 in step 25, "
     "the last"),
    (pt.SGD(0.05, schedule="constant"), "SGD(lr=0.05): a constant rate"),
    (pt.SGD(0.05, schedule="constant", warmup_steps=1), "SGD(lr=0.05): warm-up over 1 step from "
     "0.05, then constant"),
    (pt.SGD(1, schedule=Linear(end=0.5), warmup_steps=0), "SGD(lr=1): linear to 0.52 in step 25, "
     "the last"),
    (pt.SGD(1, schedule=Cosine() * Linear(), warmup_steps=0), "SGD(lr=1): product to 0.00016 in "
     "step 25, the last")])
def test_descriptions(sgd: pt.SGD, text: str) -> None:
    assert sgd.describe(25) == text
    if not sgd.stays:  # the numbers are those of the rates
        assert f" {sgd.rate(24, 25):.2g}" in text or text.endswith("constant")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in caplog.records
             if record.name.startswith("pynq_train") and record.levelno >= logging.WARNING]
    caplog.clear()
    return texts


def test_a_rate_that_nobody_asked_for_is_told_once_without_a_bar(
        net: Graph, data: Data, caplog: pytest.LogCaptureFixture) -> None:
    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.05))
    learner.fit(*data, 4, progress=False)
    (text,) = said(caplog)
    assert text.startswith("SGD(lr=0.05): warm-up over 6 steps from 0.0083, then linear to 0.0028 "
                           "in step 24, the last; each call of fit begins it anew; "
                           "schedule='constant' keeps the rate")
    learner.fit(*data, 1, progress=False)
    (again,) = said(caplog)
    assert "in step 6, the last; it has begun anew: every call of fit" in again
    learner.fit(*data, 1, progress=False)
    assert said(caplog) == []


@pytest.mark.parametrize(("sgd", "second"), [
    (pt.SGD(0.05, schedule="constant"), []),
    (pt.SGD(0.05, schedule="linear", warmup_steps=0), ["it has begun anew"])])
def test_a_rate_that_was_asked_for_is_told_where_it_begins_anew(
        net: Graph, data: Data, sgd: pt.SGD, second: list[str],
        caplog: pytest.LogCaptureFixture) -> None:
    learner = pt.Learner(net, batch=8, optimizer=sgd)
    learner.fit(*data, 2, progress=False)
    assert said(caplog) == []
    learner.fit(*data, 2, progress=False)
    texts = said(caplog)
    assert len(texts) == len(second) and all(part in text for part, text in zip(second, texts))


def test_the_first_line_above_the_bar(net: Graph, data: Data,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    learner = pt.Learner(net, batch=8, accumulate=2,
                         optimizer=pt.SGD(0.05, schedule="linear", warmup_steps=2))
    learner.fit(*data, 4)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == ("SGD(lr=0.05): warm-up over 2 updates from 0.025, then linear to 0.005 in "
                     "update 12, the last")


def test_a_resumed_training_has_not_begun_anew(
        net: Graph, data: Data, caplog: pytest.LogCaptureFixture) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt

    learner = pt.Learner(net, batch=8, optimizer=pt.SGD(0.05, schedule="step", warmup_steps=0))
    with pytest.raises(KeyboardInterrupt):
        learner.fit(*data, 3, progress=False, callbacks=[stop])
    learner.fit(*data, 3, progress=False, resume=True, callbacks=[lambda _: None])
    assert said(caplog) == [] and len(learner.history.epochs) == 3


def test_float_training_tells_too(net: Graph, data: Data,
                                  caplog: pytest.LogCaptureFixture) -> None:
    pt.fit_float(net, *data, batch=8, optimizer=pt.SGD(0.05))
    assert len(said(caplog)) == 1


@pytest.mark.parametrize(("command", "default", "warmup"), [("train", "linear", 50),
                                                            ("finetune", "cosine", 5)])
def test_help_says_what_the_rate_does(command: str, default: str, warmup: int,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "learning rate at its peak" in text and "constant stays" in text
    assert f"constant stays (default: {default}" in text
    assert f"(default: {warmup}" in text and "constant: 0)" in text
