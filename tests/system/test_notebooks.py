"""Notebooks and scripts run unchanged on several virtual boards, and boards find the notebooks."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pynq_train

FOLDER = Path(pynq_train.__file__).parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


BOARDS = [None, pytest.param("ultra96", marks=pytest.mark.slow)]
"""Virtual boards of PYNQ_TRAIN_VIRTUAL; None: it is not set."""


def environment(board: str | None = None) -> dict[str, str]:
    chosen = {} if board is None else {"PYNQ_TRAIN_VIRTUAL": board}
    root = str(FOLDER.parents[1])
    paths = filter(None, (root, os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "agg", **chosen}


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path, board: str | None, tmp_path: Path,
                  monkeypatch: pytest.MonkeyPatch) -> None:
    """With nbclient in a kernel; without it, the code cells one after the other."""
    pytest.importorskip("sklearn")
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        import nbformat
        from nbclient import NotebookClient

        for name, value in environment(board).items():
            monkeypatch.setenv(name, value)
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        NotebookClient(book, timeout=300, kernel_name="python3",
                       resources={"metadata": {"path": str(tmp_path)}}).execute()
        printed = "".join(output.get("text", "") for cell in book.cells
                          for output in cell.get("outputs", ()))
    else:
        cells = [cell for cell in json.loads(path.read_text())["cells"]
                 if cell["cell_type"] == "code"]
        script = tmp_path / "cells.py"
        script.write_text("\n\n".join("".join(cell["source"]) for cell in cells))
        done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment(board),
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    assert list(tmp_path.iterdir())
    assert f"board: virtual:{board or 'pynq-z2'}\n" in printed


def run_script(folder: Path, board: str) -> dict[str, Any]:
    folder.mkdir()
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("same_script.py"))],
                          cwd=folder, env=environment(board), capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def test_the_same_script_leaves_the_same_bits_on_all_boards(tmp_path: Path) -> None:
    """The PYNQ-Z2 and the Ultra96 have one configuration: the same weights, other cycles."""
    on_z2, on_ultra96 = (run_script(tmp_path / board, board) for board in ("pynq-z2", "ultra96"))
    assert on_z2.pop("board") == "virtual:pynq-z2" and on_z2.pop("image") == "Pynq-Z2"
    assert on_ultra96.pop("board") == "virtual:ultra96" and on_ultra96.pop("image") == "Ultra96"
    assert on_z2.pop("cycles") > on_ultra96.pop("cycles") > 0  # whose memory is faster
    assert on_z2 == on_ultra96
    assert on_z2["weights"] == on_z2["golden weights"]


def test_notebooks_are_stored_without_output() -> None:
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None


def test_boards_find_the_notebooks() -> None:
    """``pynq get-notebooks`` asks the entry points of this group for packages."""
    text = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert '[project.entry-points."pynq.notebooks"]\npynq_train = "pynq_train.notebooks"' in text
    assert '"pynq_train.notebooks" = ["*.ipynb"]' in text
