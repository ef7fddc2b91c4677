"""The notebooks run on the virtual board, and boards find them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pynq_train

FOLDER = Path(pynq_train.__file__).parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
pytestmark = [pytest.mark.rtl, pytest.mark.xdist_group("vboard")]


def environment() -> dict[str, str]:
    root = str(FOLDER.parents[1])
    paths = filter(None, (root, os.environ.get("PYTHONPATH")))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "agg"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nbclient in a kernel; without it, the code cells one after the other."""
    pytest.importorskip("sklearn")
    if importlib.util.find_spec("nbclient") and importlib.util.find_spec("ipykernel"):
        import nbformat
        from nbclient import NotebookClient

        for name, value in environment().items():
            monkeypatch.setenv(name, value)
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        NotebookClient(book, timeout=300, kernel_name="python3",
                       resources={"metadata": {"path": str(tmp_path)}}).execute()
    else:
        cells = [cell for cell in json.loads(path.read_text())["cells"]
                 if cell["cell_type"] == "code"]
        script = tmp_path / "cells.py"
        script.write_text("\n\n".join("".join(cell["source"]) for cell in cells))
        done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment(),
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir())


def test_notebooks_are_stored_without_output() -> None:
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None


def test_boards_find_the_notebooks() -> None:
    """``pynq get-notebooks`` asks the entry points of this group for packages."""
    text = (FOLDER.parents[1] / "pyproject.toml").read_text()
    assert '[project.entry-points."pynq.notebooks"]\npynq_train = "pynq_train.notebooks"' in text
    assert '"pynq_train.notebooks" = ["*.ipynb"]' in text
