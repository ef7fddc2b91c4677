"""The workload of the build's profile runs on the configuration that is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from pynq_train.backends import RunRequest, RunResult
from pynq_train.backends.golden import GoldenBackend
from pynq_train.backends.vboard.build import ModelSource, default_source
from pynq_train.graph import zoo
from pynq_train.hw.boards import Board
from pynq_train.hw.config import CONFIGS, SMALL
from pynq_train.layers import fuse
from pynq_train.run import pgo
from pynq_train.run.pgo import board_of_package
from pynq_train.schedule.plan import make_plan


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_has_a_pgo_run_on_a_board_of_its_own(name: str) -> None:
    package = default_source(config=CONFIGS[name]).package
    assert package is not None
    assert board_of_package(package.as_posix()).config == CONFIGS[name]


def test_without_a_package_the_smallest_one_is_taken() -> None:
    assert board_of_package("").config.name == "zynq7020"


def test_the_run_is_a_training_step_of_the_given_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one random image, with weights that move; on golden here."""
    made: list[tuple[object, ...]] = []
    steps: list[int] = []

    class Model(GoldenBackend):
        """Golden that notes what it was opened with and what it has run."""

        def __init__(self, board: Board, nbytes: int, *, source: ModelSource) -> None:
            super().__init__(nbytes)
            made.append((board, source.library))

        def run(self, request: RunRequest) -> RunResult:
            steps.append(request.descriptor_count)
            return super().run(request)

    monkeypatch.setattr(pgo, "VirtualBoardBackend", Model)
    monkeypatch.setattr(pgo, "NET", "digits")
    package = default_source(config=SMALL).package
    assert package is not None
    pgo.main("some/library.so", package.as_posix())
    board = board_of_package(package.as_posix())
    assert made == [(board, Path("some/library.so"))]
    plan = make_plan(fuse(zoo.get("digits")), 1, board)
    assert steps == [len(plan.train)]
