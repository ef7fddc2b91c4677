"""Waveforms of a replay: what is recorded, on which board, and which faults are the finding."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pynq_train.backends import vboard
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.hw.boards import BOARDS

module = import_module("pynq_train.check.replay")


class Board:
    """A virtual board that notes what it is asked, and fails when it is told to."""

    made: list[Board]
    fails = False

    def __init__(self, board: Any, nbytes: int, *, source: Any) -> None:
        self.said: list[Any] = [board.name, nbytes, source]
        self.model = self
        type(self).made.append(self)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("closed")

    def write(self, offset: int, image: Any) -> None:
        self.said.append((offset, image.tolist()))

    def trace(self, path: Path) -> None:
        self.said.append(path.name)

    def run(self, request: object) -> None:
        self.said.append(request)
        if self.fails:
            raise HardwareFault("planted")

    def run_step_mode(self, request: object) -> Iterator[int]:
        for index in range(4):
            if self.fails and index == 2:
                raise HardwareFault("planted")
            self.said.append(index)
            yield index


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> type[Board]:
    made = type("Noted", (Board,), {"made": []})
    monkeypatch.setattr(vboard, "VirtualBoardBackend", made)
    monkeypatch.setattr("pynq_train.backends.vboard.build.default_source",
                        lambda trace, config: (trace, config.name))
    return made


FAILURE: Any = SimpleNamespace(image=np.array([3, 4], np.uint8), request="request")


def found(index: int | None, errors: Any = None, name: str = "virtual:kv260") -> Any:
    return SimpleNamespace(board=name, index=index, errors=errors or {})


@pytest.mark.parametrize(("index", "said"), [
    (None, ["a.vcd", "request"]), (0, ["a.vcd", 0]), (2, [0, 1, "a.vcd", 2])])
def test_what_is_recorded(index: int | None, said: list[Any], board: type[Board], tmp_path: Path
                          ) -> None:
    """The descriptor of the difference alone if there is one, else the whole program."""
    module.record(FAILURE, found(index), tmp_path / "a.vcd")
    (one,) = board.made
    assert one.said == ["kv260", 2, (True, BOARDS["kv260"].config.name), (0, [3, 4]), *said,
                        "closed"]


@pytest.mark.parametrize("index", [None, 3])
def test_a_fault_is_what_was_found_or_is_raised(index: int | None, board: type[Board],
                                                tmp_path: Path) -> None:
    board.fails = True
    module.record(FAILURE, found(index, {"virtual:kv260": "planted"}), tmp_path / "a.vcd")
    with pytest.raises(HardwareFault, match="planted"):
        module.record(FAILURE, found(index), tmp_path / "a.vcd")
    assert [one.said[-1] for one in board.made] == ["closed", "closed"]


@pytest.mark.parametrize("name", ["golden", "kv260", "virtual:", "virtual:kv261", ""])
def test_only_virtual_boards_have_waveforms(name: str, board: type[Board], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="waveforms: expected a virtual board, found "):
        module.record(FAILURE, found(0, name=name), tmp_path / "a.vcd")
    assert not board.made


def test_the_folder_has_to_be_there(board: type[Board], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"folder '.*none' does not exist; create it"):
        module.record(FAILURE, found(0), tmp_path / "none" / "a.vcd")
    assert not board.made
