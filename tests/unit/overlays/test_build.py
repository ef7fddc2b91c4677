"""``make overlay``: without Vivado one sentence; with it, files, checks and a manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_vivado import ROOT

from overlays import build as tool
from pynq_train.hw import contract
from pynq_train.hw.boards import BOARDS
from pynq_train.hw.emit import hwh
from pynq_train.overlays import FOLDER_VARIABLE, find_overlay

Z2 = BOARDS["pynq-z2"]

# Stands for the program: writes what the flow would, or stops as it would.
_PROGRAM = """#!{python}
import json, pathlib, sys
argv = sys.argv[1:]
board, out, jobs = argv[argv.index("-tclargs") + 1:]
assert argv[argv.index("-source") + 1].endswith("overlays/flow.tcl") and argv[:2] == ["-mode", "batch"]
out = pathlib.Path(out)
if {failing!r}:
    print("INFO: started\\n" + {failing!r})
    sys.exit(1)
(out / "pynq_train.bit").write_bytes(b"bits")
(out / "pynq_train.hwh").write_text({hwh!r})
(out / "result.json").write_text(json.dumps({{
    "board": board, "configuration": "zynq7020", "contract_hash": {digest!r}, "clock_mhz": {clock},
    "setup_slack_ns": 0.125, "hold_slack_ns": 0.031, "vivado": "2024.1"}}))
"""  # noqa: E501


@pytest.fixture
def vivado(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    def install(text: str | None = None, failing: str = "", clock: float = 100.0) -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        program = folder / "vivado"
        program.write_text(_PROGRAM.format(
            python=sys.executable, failing=failing, clock=clock,
            digest=contract.contract_hash(Z2.config),
            hwh=hwh.render(Z2) if text is None else text))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


def test_without_vivado_it_stops_with_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "overlays/build.py", "--board", "pynq-z2", "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 8 and done.stdout == ""
    assert done.stderr == (
        "overlay: bitstreams are built with AMD Vivado: expected 'vivado' on the PATH, found none; "
        "install Vivado 2022.1 or newer and source its settings64.sh, or use a virtual board, "
        "which needs none\n")  # fmt: skip


def test_a_build_is_found_by_the_package(
        vivado, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vivado()
    out = tmp_path / "overlays" / "pynq-z2"
    made = tool.build(Z2, out, jobs=2)
    assert (made.clock_mhz, made.setup_slack_ns, made.vivado) == (100.0, 0.125, "2024.1")
    values = json.loads((out / "manifest.json").read_text())
    assert values["contract_hash"] == contract.contract_hash(Z2.config)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "overlays"))
    assert find_overlay(Z2) == out / "pynq_train.bit"


def test_a_build_at_a_fall_back_clock(vivado, tmp_path: Path) -> None:
    """The description must give the clock that the flow reports, and that one only."""
    at_100 = hwh.render(Z2)
    at_90 = at_100.replace('DIVISOR0" VALUE="5"', 'DIVISOR0" VALUE="11"').replace(
        'DIVISOR1" VALUE="2"', 'DIVISOR1" VALUE="1"')
    vivado(at_90, clock=90.909091)
    assert tool.build(Z2, tmp_path, jobs=1).clock_mhz == 90.909091
    vivado(at_100, clock=90.909091)
    with pytest.raises(tool.StaleOverlay, match=r"clock: expected 90\.909 MHz, found 100\.000 MHz"):
        tool.build(Z2, tmp_path, jobs=1)


def test_what_the_flow_says_is_passed_on(vivado, tmp_path: Path) -> None:
    vivado(failing="overlay: expected a setup slack of 0 ns or more, found '-0.2': see timing.txt")
    with pytest.raises(tool.PynqTrainError, match=r"Vivado built no overlay for pynq-z2: expected "
                       r"exit code 0, found 1 \(overlay: expected a setup slack"):
        tool.build(Z2, tmp_path, jobs=1)


def test_a_description_that_differs_leaves_no_manifest(vivado, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    vivado(hwh.render(Z2).replace('NAME="TM" VALUE="16"', 'NAME="TM" VALUE="8"'))
    with pytest.raises(tool.StaleOverlay, match="is not the contract of pynq-z2: expected no "
                       "difference, found parameter TM: expected 16, found 8; run 'make gen'"):
        tool.build(Z2, tmp_path, jobs=1)
    assert not (tmp_path / "manifest.json").exists()
