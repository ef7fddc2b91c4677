"""Golden and the RTL on the virtual board: equal memory after every descriptor."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pynq_train.backends.vboard import VirtualBoardBackend
from pynq_train.backends.vboard.build import default_source
from pynq_train.check import Coverage, random_net, verify, with_random_end
from pynq_train.check.random_chains import random_chain
from pynq_train.cli.main import main
from pynq_train.errors import StaleOverlay
from pynq_train.graph import zoo
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import CONFIGS, WIDE32

pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]
BOARD = "virtual:pynq-z2"
SEEDS = int(os.environ.get("PYNQ_TRAIN_SEEDS", "50"))


def test_1x_two_steps(tmp_path: Path) -> None:
    report = tmp_path / "verify.json"
    assert main(["verify", "--net", "1x", "--batch", "4", "--steps", "2", "--board", BOARD,
                 "--json", str(report)]) == 0
    result = json.loads(report.read_text())
    assert result["mismatches"] == 0 and result["descriptors_compared"] == 56


def test_lenet5_odd_batch() -> None:
    report = verify(zoo.get("lenet5"), batch=3, steps=1, board=BOARD, seed=3)
    assert report.first is None, report.first.text()


@pytest.mark.parametrize("seed", range(6))
def test_array_of_32_output_lanes(seed: int) -> None:
    drawn = random_net(seed)
    report = verify(drawn.graph, batch=drawn.batch, steps=1, board="virtual:zcu104", seed=seed,
                    trainable=drawn.trainable)
    assert report.first is None, report.first.text()


SMALLEST = "zynq7020"
"""The smallest array; ``k26`` differs from it in the depth of the gradient queue alone."""


def board_of(config: str) -> str:
    """A virtual board with a configuration."""
    fitting = [board.name for board in BOARDS.values() if board.config.name == config]
    assert fitting, f"no board has the configuration {config}: nothing verifies it"
    return f"virtual:{fitting[0]}"


@pytest.mark.parametrize("config", [
    name if name == SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS])
def test_every_configuration_passes_verify(config: str, tmp_path: Path) -> None:
    """The smallest one in ``make test``, all in ``make test-all``."""
    report = tmp_path / "verify.json"
    for net, batch in (("digits", 8), ("lenet5", 3)):
        assert main(["verify", "--net", net, "--batch", str(batch), "--steps", "2", "--board",
                     board_of(config), "--json", str(report)]) == 0
        result = json.loads(report.read_text())
        assert result["mismatches"] == 0 and result["descriptors_compared"] > 0
    for seed in range(6):
        drawn = random_net(seed)
        done = verify(drawn.graph, batch=drawn.batch, steps=1, board=board_of(config), seed=seed,
                      trainable=drawn.trainable)
        assert done.first is None, done.first.text()


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_every_board_passes_verify(board: str) -> None:
    """Also those that share a configuration: other addresses, another bandwidth."""
    report = verify(zoo.get("digits"), batch=4, steps=1, board=f"virtual:{board}", seed=5)
    assert report.first is None, report.first.text()


@pytest.mark.slow
def test_a_board_with_the_engine_of_another_configuration_is_refused() -> None:
    source = default_source(config=WIDE32)
    with pytest.raises(StaleOverlay, match="built from another hardware contract"), \
            VirtualBoardBackend(BOARDS["pynq-z2"], 4096, source=source):
        pass


@pytest.mark.parametrize("seed", [50, 53, 57, 61, 66, 74, 82, 93])
def test_frozen_layers_of_random_networks(seed: int) -> None:
    drawn = random_chain(seed)
    report = verify(drawn.graph, batch=drawn.batch, steps=1, board=BOARD, seed=seed,
                    trainable=drawn.trainable)
    assert report.first is None, report.first.text()


@pytest.mark.parametrize("train", ["bias", "last-block", ("conv1.weight", "conv2.bias")])
def test_frozen_layers_over_two_steps(train: str | tuple[str, ...]) -> None:
    report = verify(zoo.get("digits"), batch=4, steps=2, board=BOARD, trainable=train)
    assert report.first is None, report.first.text()


def test_random_networks_of_all_kinds() -> None:
    coverage = Coverage()
    for seed in range(SEEDS):
        drawn = with_random_end(random_net(seed), seed)
        report = verify(drawn.graph, batch=drawn.batch, steps=1, board=BOARD, seed=seed,
                        trainable=drawn.trainable)
        assert report.first is None, f"seed {seed}: {report.first.text()}"
        coverage.merge(report.coverage)
    print(coverage.table())  # noqa: T201 - the table is the result
    if SEEDS >= 200:
        assert coverage.missing() == []
