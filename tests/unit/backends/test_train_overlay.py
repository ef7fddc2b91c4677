"""The overlay class: finds the files of its board, and says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pynq")

import pynq
from fake_engine import FakeEngine

from pynq_train import overlays
from pynq_train.backends.overlay import TrainOverlay
from pynq_train.backends.vboard.device import VirtualDevice
from pynq_train.errors import BadInput, UnknownName
from pynq_train.hw import registers
from pynq_train.hw.boards import BOARDS


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[VirtualDevice]:
    monkeypatch.setenv("PYNQ_TRAIN_CACHE", str(tmp_path))
    made = VirtualDevice(BOARDS["zcu104"], lambda _device: FakeEngine())
    pynq.Device.active_device = made
    yield made
    made.close()


def test_the_overlay_of_the_active_board_is_loaded(device: VirtualDevice) -> None:
    overlay = TrainOverlay()
    assert overlay.is_loaded() and "zcu104" in overlay.bitfile_name
    assert overlay.engine.read_register("ID") == registers.ID_VALUE


def test_a_missing_overlay_and_an_unknown_board(device: VirtualDevice, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherDevice:
        name = "Pynq-Z1"

    monkeypatch.setenv(overlays.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(BadInput, match=r"no overlay for pynq-z1 is installed: expected .*make "
                       r"overlay BOARD=pynq-z1\) and copy .*, or use 'virtual:pynq-z1'"):
        TrainOverlay(device=OtherDevice())
    with pytest.raises(UnknownName, match="unknown board 'pynq-z9': expected one of aup-zu3, "):
        TrainOverlay("pynq-z9", device=device)
    OtherDevice.name = "Arty"
    with pytest.raises(UnknownName, match="unknown board 'Arty': expected one of AUP-ZU3, KV260"):
        TrainOverlay(device=OtherDevice())
