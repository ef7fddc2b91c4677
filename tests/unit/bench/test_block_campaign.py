"""The campaign of blocks: what has ended is stored, what was killed goes on with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from squares import squares

from benchmarks import block_training
from benchmarks.accuracy import tasks
from benchmarks.accuracy.tasks import DataSet, Recipe
from benchmarks.block_training import BLOCKS, FIRST, WHOLE, Campaign, run_all, stored, table
from pynq_train.fleet.block_training.learner import BlockLearner
from pynq_train.layers import init_params

CAMPAIGN = Campaign(Recipe("digits", "squares", 40, 1, 10, 0.05, float_epochs=2), ("pool1",),
                    ("conv",))


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.DATA_SETS, "squares", DataSet("squares", 30, squares))


def plain(runs: dict[str, Any]) -> dict[str, Any]:
    """Return runs without their CPU seconds."""
    return {name: {key: value for key, value in run.items() if key != "cpu_seconds"}
            for name, run in runs.items()}


def start(networks: Any, recipe: Recipe, seed: int, *rest: Any) -> Any:
    """Stand in for the float32 part, without PyTorch."""
    return [init_params(graph, seed) for graph, _ in networks], [0.5] * len(networks)


def test_a_campaign_that_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                           ) -> None:
    monkeypatch.setattr(block_training, "float_training", start)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_all(CAMPAIGN, tmp_path, 1, 60, whole, whole / "work")
    expected = plain(stored(CAMPAIGN, whole))
    assert sorted(expected) == [f"{BLOCKS} 0", f"{FIRST} 0", f"{WHOLE} 0"]
    assert [len(one) for one in expected[f"{BLOCKS} 0"]["golden"]] == [2]
    assert sum(expected[f"{BLOCKS} 0"]["exits"]) == pytest.approx(100, abs=0.1)
    real, left = BlockLearner.step, 7

    def step(self: BlockLearner, *rest: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return real(self, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(BlockLearner, "step", step)
        run_all(CAMPAIGN, tmp_path, 1, 60, killed, killed / "work")
    assert sorted(stored(CAMPAIGN, killed)) == [f"{WHOLE} 0"]
    run_all(CAMPAIGN, tmp_path, 1, 60, killed, killed / "work")
    assert plain(stored(CAMPAIGN, killed)) == expected
    assert stored(replace(CAMPAIGN, heads=("dense",)), killed) == {}
    monkeypatch.setattr(block_training, "Trial", None)
    run_all(CAMPAIGN, tmp_path, 1, 60, killed)  # nothing is left
    text = table(CAMPAIGN, stored(CAMPAIGN, killed))
    assert "first block below the whole: " in text and "last block below the whole: " in text
    below = expected[f"{WHOLE} 0"]["golden"][-1][0] - expected[f"{BLOCKS} 0"]["golden"][-1][0]
    assert f"first block below the whole: {below:.2f} points" in text
    assert "head conv      7,338 parameters" in text


def test_the_float_part_stops_gradients_at_cuts(tmp_path: Path) -> None:
    """The first block's weights are those that it has when it is trained alone."""
    pytest.importorskip("torch")
    from benchmarks.accuracy.training import float_training
    from pynq_train.graph.image_format import ANY_IMAGES

    (train, test), blocks = squares(tmp_path), CAMPAIGN.blocks(BLOCKS)
    networks = [(block.graph, block.after) for block in blocks]
    both, accuracies = float_training(networks, CAMPAIGN.recipe, 3, train, test, ANY_IMAGES)
    alone, one = float_training(networks[:1], CAMPAIGN.recipe, 3, train, test, ANY_IMAGES)
    assert len(accuracies) == 2 and accuracies[0] == one[0]
    for name, own in alone[0].items():
        assert np.array_equal(own.weight, both[0][name].weight)
    begun = init_params(blocks[1].graph, 3)
    assert not np.array_equal(begun["conv2"].weight, both[1]["conv2"].weight)
