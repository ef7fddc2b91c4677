"""Buffers of pynq beside every NumPy: the attribute ``device`` can be set."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pynq")

from pynq_train.backends.buffer import PynqBuffer, mend_device


class Theirs(np.ndarray):
    """What pynq does: it keeps its device in the array."""

    def __new__(cls, shape: tuple[int, ...], device: object) -> Theirs:
        self = super().__new__(cls, shape, np.uint8)
        self.device = device  # type: ignore[misc]
        return self


class Ready(np.ndarray):
    """A class that has such an attribute already."""

    device = "mine"  # type: ignore[assignment]


needed = pytest.mark.skipif("device" not in vars(np.ndarray), reason="NumPy 1 needs no remedy")


def test_buffers_keep_their_device() -> None:
    device = object()
    buffer = PynqBuffer((8,), np.uint8, device=device, device_address=64)
    assert buffer.device is device and buffer[2:].device is device
    assert buffer[2:].device_address == 66


@needed
def test_numpy_2_forbids_it_and_the_remedy_helps() -> None:
    with pytest.raises(AttributeError, match="device"):
        Theirs((1,), None)
    mend_device(Theirs)
    assert Theirs((1,), "a").device == "a"


def test_nothing_is_changed_without_need() -> None:
    mend_device(Ready)
    assert Ready.device == "mine"
    if "device" not in vars(np.ndarray):
        assert "device" not in vars(PynqBuffer)
