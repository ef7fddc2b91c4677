"""Plugin of pytest: virtual boards that count lines and toggles (``-p sim.coverage.boards``).

Every model of the whole board that a test makes is built with counts, and leaves them in the folder
that the environment variable ``PT_COVERAGE`` names when it ends. Models in processes of their own
(commands that tests start) do not count.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynq_train.backends.vboard import build
from pynq_train.backends.vboard.model import VerilatedModel
from pynq_train.errors import HardwareFault
from sim.bfm.env import COVERAGE


def pytest_configure(config: pytest.Config) -> None:
    """Put counting models in the place of fast ones, before any module of tests is imported.

    Raises:
        KeyError: no folder is named.
    """
    folder = Path(os.environ[COVERAGE])
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    default, close = build.default_source, VerilatedModel.close

    def counting(*args: Any, **options: Any) -> build.ModelSource:
        """The source of the engine, without what only speed is for."""
        return replace(default(*args, **options), counts=True, profiled=False)

    def keep(model: VerilatedModel) -> None:
        """Write the counts, once, and end the model."""
        if getattr(model, "_board", None):
            # What a test builds of another design has none: the library says so.
            with suppress(HardwareFault):
                model.write_counts(folder / f"{uuid.uuid4().hex}.dat")
        close(model)

    patch.setattr(build, "default_source", counting)
    patch.setattr(VerilatedModel, "close", keep)
