"""Histories: sums of an epoch, lines for people, and what of many epochs is kept."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from pynq_train.errors import BadInput
from pynq_train.train import history as module
from pynq_train.train.history import EpochResult, Evaluation, History, Tally


def epoch(number: int, **more: Any) -> EpochResult:
    return EpochResult(number, 0.5, 0.25, None, None, 8, 9, 0, 1.5, **more)


def test_an_epoch_is_the_sum_of_its_steps() -> None:
    tally = Tally()
    tally.add(6.0, 3, 8, 100, {"conv1.y": 2, "dense1.w": 1})
    tally.add(2.0, 5, 8, 50)
    tally.add(1.0, 1, 4, 25, {"conv1.y": 4})
    tally.seconds = 2.5
    assert Tally.from_dict(asdict(tally)) == tally
    found = tally.result(7, Evaluation(0.4, 0.9), {"conv1.y": {"range": 3, "saturations": 6}},
                         {"conv1": 2})
    assert found == EpochResult(7, 9 / 20, 9 / 20, 0.4, 0.9, 20, 175, 7, 2.5,
                                {"conv1.y": {"range": 3, "saturations": 6}}, {"conv1": 2})
    assert tally.tensors == {"conv1.y": 6, "dense1.w": 1}
    assert Tally().result(1, None) == EpochResult(1, 0.0, 0.0, None, None, 0, 0, 0, 0.0)
    with pytest.raises(BadInput, match="saved training state is malformed"):
        Tally.from_dict({"losses": 1})


def test_lines_for_people() -> None:
    one = epoch(3)
    assert one.text() == "epoch 3: loss 0.5000, accuracy 25.00 %"
    checked = Tally(1.0, 1, 4).result(4, Evaluation(0.25, 0.875))
    assert checked.text() == ("epoch 4: loss 0.2500, accuracy 25.00 %, validation loss 0.2500, "
                              "accuracy 87.50 %")
    assert repr(History()) == "<History: 0 epochs>"
    assert repr(History([one], True)) == f"<History: 1 epochs, {one.text()}, interrupted>"


def test_the_last_epochs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS_KEPT", 3)
    for count in (0, 1, 2, 3, 4, 9):
        history = History([epoch(number) for number in range(1, count + 1)])
        kept = history.to_list()
        assert [one["epoch"] for one in kept] == list(range(max(count - 2, 1), count + 1))
        assert History.from_list(kept).epochs == history.epochs[-3:]


@pytest.mark.parametrize(("room", "held"), [(0, 1), (1, 1), (2, 2), (3, 3), (9, 4)])
@pytest.mark.parametrize("less", [0, 1])
def test_ranges_of_as_many_epochs_as_there_is_room_for(room: int, held: int, less: int,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last ones, and of the last one in any case."""
    tensors = {"conv1.y": {"range": 3, "saturations": 6}}
    monkeypatch.setattr(module, "TENSOR_BYTES", room * len(json.dumps(tensors)) - less)
    history = History([epoch(number, tensors=tensors) for number in range(1, 5)])
    found = [bool(one["tensors"]) for one in history.to_list()]
    held = max(held - 1, 1) if less and room <= 4 else held
    assert found == [False] * (4 - held) + [True] * held
    assert all(one.tensors for one in history.epochs), "the history itself stays"


@pytest.mark.parametrize("data", [[{"epoch": 1}], [3], 5, [{"nothing": 2}]])
def test_malformed_histories(data: Any) -> None:
    with pytest.raises(BadInput, match="saved history is malformed"):
        History.from_list(data)
