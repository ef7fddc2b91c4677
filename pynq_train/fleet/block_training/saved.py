"""Checkpoints of a training in blocks: a file for each block, and one that says which belong."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.files import parse_json, path_text, write_atomic
from pynq_train.files.read import read_bytes
from pynq_train.files.schema import Items, Record, Text, Whole
from pynq_train.fleet.block_training.learner import BlockLearner

_NAME = "blocks.json"
_MOST = (1 << 62) - 1
_SAVED = Record({"version": Whole(1, 1), "epoch": Whole(0, _MOST), "files": Items(Text(), least=1),
                 "training": Text(1 << 16)})


class BlockFiles:
    """A folder with the learners of all blocks as they were at the end of an epoch.

    Args:
        folder: the folder; it is made.
        training: what a training depends on, beside its learners; it goes on with the same alone.

    Raises:
        BadInput: the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str], training: Mapping[str, Any]) -> None:
        self._folder = Path(path_text(folder, "checkpoint"))
        self._training = json.dumps(training, sort_keys=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"checkpoint {str(self._folder)!r}", expected="a folder for the blocks",
                           found=str(error), fix="name another one") from None

    def save(self, learners: Sequence[BlockLearner], epoch: int) -> None:
        """Write all learners, then the list of their files, then delete the files before these.

        Whenever it is killed, the list names files that belong together.

        Args:
            learners: of the blocks.
            epoch: epochs that they have trained.
        """
        names = [f"block{at}-{epoch}.safetensors" for at in range(len(learners))]
        for name, learner in zip(names, learners):
            learner.save(self._folder / name)
        state = {"version": 1, "epoch": epoch, "files": names, "training": self._training}
        write_atomic(self._folder / _NAME, (json.dumps(state, indent=1) + "\n").encode())
        for old in self._folder.glob("block*-*.safetensors"):
            if old.name not in names:
                old.unlink(missing_ok=True)

    def load(self, boards: Sequence[str]) -> tuple[list[BlockLearner], int]:
        """Return the learners, on these boards, and the epochs that they have trained.

        Raises:
            BadInput: there is no such checkpoint, it is damaged, or of another training.
        """
        path = self._folder / _NAME
        if not path.exists():
            raise BadInput(f"resume: checkpoint {str(self._folder)!r}", expected=f"a {_NAME} in it",
                           found="none", fix="begin without resume")
        try:
            found = parse_json(read_bytes(path, "checkpoint"))
        except ValueError as error:
            raise BadInput(f"checkpoint {str(path)!r} is no JSON ({error})",
                           fix="begin without resume") from None
        state = _SAVED.check(found, f"checkpoint {str(path)!r}")
        if state["training"] != self._training:
            raise BadInput("resume: training in blocks", expected=state["training"],
                           found=self._training, fix="say what was said when it began")
        names = state["files"]
        if len(names) != len(boards) or any(Path(name).name != name for name in names):
            raise BadInput(f"checkpoint {str(path)!r}", expected=f"files of {len(boards)} blocks",
                           found=", ".join(names), fix="begin without resume")
        learners = []
        for name, board in zip(names, boards):
            learner = BlockLearner.load(self._folder / name, board=board)
            assert isinstance(learner, BlockLearner)
            learners.append(learner)
        return learners, state["epoch"]
