"""Small parts of verifications and of networks that are drawn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pynq_train.check.draw import Draw
from pynq_train.check.net_builder import NetBuilder
from pynq_train.check.verify import _stall
from pynq_train.errors import BadInput


@pytest.mark.parametrize("probability", [0.0, 0.25, 0.999])
def test_a_virtual_board_stalls_as_often_as_it_is_told(probability: float) -> None:
    told: list[float] = []
    board: Any = SimpleNamespace(name="virtual:x", model=SimpleNamespace(
        set_random_stalls=told.append))
    _stall(board, probability)
    assert told == [probability]


@pytest.mark.parametrize(("model", "probability"), [(True, 1.0), (True, -0.1), (False, 0.5)])
def test_others_do_not_stall(model: bool, probability: float) -> None:
    board: Any = SimpleNamespace(name="some", model=SimpleNamespace() if model else None)
    with pytest.raises(BadInput, match=f"stalls: expected a probability below 1, and a virtual "
                                       f"board, found {probability} on some"):
        _stall(board, probability)


def test_shapes_while_a_network_is_built() -> None:
    build = NetBuilder((3, 9, 7), Draw(1, 1))
    assert build.shape("input") == (3, 9, 7)
    first = build.conv("input", 5, 3, 2)
    assert build.shape(first) == (5, 5, 4)
    assert build.shape("input") == (3, 9, 7)
