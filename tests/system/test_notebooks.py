"""Every notebook runs from top to bottom, on golden and on the virtual board, without a change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import pynq_train
from pynq_train import overlays

NOTEBOOKS = sorted((Path(pynq_train.__file__).parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("board", ["golden", pytest.param("virtual:pynq-z2",
                                                          marks=pytest.mark.rtl)])
def test_notebook_runs(notebook: Path, board: str, tmp_path: Path,
                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlays, "this_machine", lambda: board)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        assert not cell.get("outputs"), "a notebook is kept without outputs"
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), notebook.name, "exec"), names)
    history = names["history"]
    assert isinstance(history, pynq_train.History)
    assert history.epochs[-1].val_accuracy > 0.9
