"""The order in which branches run."""

from __future__ import annotations

import pytest

from pynq_train.graph import zoo
from pynq_train.layers import fuse
from pynq_train.layers.branch_order import execution_order


def names(heavy: str) -> list[bool]:
    """``c`` is a convolution."""
    return [letter == "c" for letter in heavy]


def test_a_chain_stays_as_it_is() -> None:
    sources = [(-1,), (0,), (1,)]
    assert execution_order(sources, names("cxc")) == (0, 1, 2)


@pytest.mark.parametrize("swap", [False, True])
def test_the_shorter_branch_stands_before_the_last_convolution_of_the_longer(swap: bool) -> None:
    # stem 0; long: conv 1, norm 2, conv 3, norm 4; short: conv 5, norm 6; sum 7
    both = (6, 4) if swap else (4, 6)
    sources = [(-1,), (0,), (1,), (2,), (3,), (0,), (5,), both]
    assert execution_order(sources, names("ccxcxcxx")) == (0, 1, 2, 5, 6, 3, 4, 7)


def test_a_shorter_branch_that_is_first_moves_too() -> None:
    # short: conv 1, norm 2; long: conv 3, norm 4, conv 5, norm 6; sum 7
    sources = [(-1,), (0,), (1,), (0,), (3,), (4,), (5,), (2, 6)]
    assert execution_order(sources, names("ccxcxcxx")) == (0, 3, 4, 1, 2, 5, 6, 7)


def test_branches_of_the_same_length_and_skips_without_operations_stay() -> None:
    same = [(-1,), (0,), (0,), (1, 2)]
    assert execution_order(same, names("cccx")) == (0, 1, 2, 3)
    skip = [(-1,), (0,), (1,), (2, 0)]
    assert execution_order(skip, names("cccx")) == (0, 1, 2, 3)


def test_a_branch_inside_a_branch() -> None:
    # stem 0; long: conv 1, [conv 2, conv 3 | conv 4], sum 5, conv 6; short: conv 7; sum 8
    sources = [(-1,), (0,), (1,), (2,), (1,), (3, 4), (5,), (0,), (6, 7)]
    order = execution_order(sources, names("cccccxccx"))
    assert order == (0, 1, 2, 4, 3, 5, 7, 6, 8)


def test_the_sum_is_part_of_the_longer_branch() -> None:
    layers = {layer.name: layer for layer in fuse(zoo.get("resnet20"))}
    order = list(layers)
    assert order.index("b0.skip.bn") == order.index("b0.conv2") - 1
    assert layers["b0.conv2.bn"].sources == (order.index("b0.conv2"), order.index("b0.skip.bn"))
