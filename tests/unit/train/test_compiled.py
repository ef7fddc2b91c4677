"""Model files with compiled programs: the same bits, and nothing that does not fit is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.check.random_nets import random_net
from pynq_train.cli.main import main
from pynq_train.errors import BadInput
from pynq_train.schedule import compiled, plan
from pynq_train.train.checkpoint import Checkpoint, load, save

SGD = pt.SGD(0.05, schedule="constant", warmup_steps=0)


def data(graph: pt.Graph, batch: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    channels, rows, cols = graph.input_shape
    return (draw.integers(0, 256, (3 * batch, channels, rows, cols), np.uint8),
            draw.integers(0, graph.classes, 3 * batch))


@pytest.fixture
def no_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("planned, built or verified again")

    for where, name in ((plan, "choose_split"), (compiled, "build_training"),
                        (compiled, "build_evaluation"), (compiled, "verify_program")):
        monkeypatch.setattr(where, name, refuse)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 6, 7, 10, 11])
def test_a_compiled_learner_trains_with_the_same_bits(seed: int, tmp_path: Path,
                                                      request: pytest.FixtureRequest) -> None:
    net = random_net(seed)
    x, y = data(net.graph, net.batch)
    wanted, first = (pt.Learner(net.graph, batch=net.batch, optimizer=SGD,
                                trainable=net.trainable) for _ in range(2))
    wanted.fit(x, y, progress=False)
    first.compile()
    first.save(tmp_path / "a.safetensors")
    request.getfixturevalue("no_planning")
    mine = pt.Learner.load(tmp_path / "a.safetensors", optimizer=SGD)
    mine.fit(x, y, progress=False)
    assert all(own.same_bits(mine.masters[name]) for name, own in wanted.masters.items())
    assert np.array_equal(mine.logits(x), wanted.logits(x))
    mine.save(tmp_path / "b.safetensors")  # what was compiled stays so
    again = pt.Learner.load(tmp_path / "b.safetensors")
    assert np.array_equal(again.logits(x), wanted.logits(x))


def test_tables_and_predictions_are_those_of_a_planned_learner(tmp_path: Path) -> None:
    learner = pt.Learner("digits", batch=8)
    learner.compile()
    learner.save(tmp_path / "a.safetensors")
    loaded = pt.Learner.load(tmp_path / "a.safetensors")
    assert loaded._planned.programs is not None
    assert loaded.summary() == learner.summary()
    assert loaded.predicted_step() == learner.predicted_step()


@pytest.mark.parametrize("change", [{"batch": 4}, {"trainable": "last-layer"}, {"loss": "mse"},
                                    {"optimizer": pt.SGD(0.1, momentum=0)}])
def test_another_training_is_planned_anew(change: dict[str, Any], tmp_path: Path) -> None:
    learner = pt.Learner("digits", batch=8)
    learner.compile()
    learner.save(tmp_path / "a.safetensors")
    loaded = pt.Learner.load(tmp_path / "a.safetensors", **change)
    assert loaded._planned.programs is None
    x, y = data(learner.graph, 8)
    loaded.fit(x, y, progress=False)
    loaded.save(tmp_path / "b.safetensors")
    assert load(tmp_path / "b.safetensors").compiled is None


def test_another_board_is_refused(tmp_path: Path) -> None:
    learner = pt.Learner("digits", batch=8)
    learner.compile()
    learner.save(tmp_path / "a.safetensors")
    with pytest.raises(BadInput, match="board: expected kv260, found pynq-z2; compile the model"):
        pt.Learner.load(tmp_path / "a.safetensors", board="kv260")
    assert pt.Learner.load(tmp_path / "a.safetensors", board="kv260", compiled=False)


def shift_input(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["regions"]["input"][0] = values["nbytes"]


def overlap(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["regions"]["labels"][0] = values["regions"]["input"][0]


def shorter(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["descriptors"]["train"].pop()


def bomb(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    import zlib
    arrays["train"] = np.frombuffer(zlib.compress(bytes(1 << 24)), np.uint8)


def garbage(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    arrays["evaluate"] = np.arange(100, dtype=np.uint8)


def missing(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    del arrays["train"]


def no_cycles(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["cycles"].clear()


def other_layers(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["layers"] = "0" * 64


def odd_role(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["descriptors"]["train"][0][0] = 1000


def odd_type(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["batch"] = "8"


def other_contract(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["contract"] = "0" * 64


def other_version(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["version"] = 99


def too_large(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    values["nbytes"] = 1 << 31


def no_symbol(values: dict[str, Any], arrays: dict[str, Any]) -> None:
    del values["regions"]["train.taps"]


@pytest.mark.parametrize("damage", [
    shift_input, overlap, shorter, bomb, garbage, missing, no_cycles, other_layers, odd_role,
    odd_type, other_contract, other_version, too_large, no_symbol], ids=lambda one: one.__name__)
def test_what_does_not_fit_is_refused(damage: Callable[..., None], tmp_path: Path) -> None:
    """Files with a right checksum whose programs were made by somebody else."""
    learner = pt.Learner("digits", batch=8)
    learner.compile()
    learner.save(tmp_path / "a.safetensors")
    saved = load(tmp_path / "a.safetensors")
    assert saved.compiled is not None
    values, arrays = saved.compiled[0], dict(saved.compiled[1])
    damage(values, arrays)
    save(tmp_path / "b.safetensors", Checkpoint(saved.graph, saved.masters, saved.state,
                                                (values, arrays)))
    with pytest.raises(pt.PynqTrainError, match=r"compiled programs|device memory") as caught:
        pt.Learner.load(tmp_path / "b.safetensors")
    assert "\n" not in str(caught.value)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "digits.safetensors"
    assert main(["compile", "digits", "--batch", "8", "--out", str(out)]) == 0
    assert "digits for pynq-z2, mini-batch 8" in capsys.readouterr().out
    assert pt.Learner.load(out)._planned.programs is not None
    assert main(["compile", str(out), "--board", "virtual:kv260"]) == 0
    assert pt.Learner.load(out, board="kv260")._planned.programs is not None
    assert main(["compile", "digitz"]) == 2
