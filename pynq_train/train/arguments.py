"""Arguments of a learner and of its calls, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pynq_train.arrays import plain
from pynq_train.errors import BadInput
from pynq_train.files import path_text
from pynq_train.graph import LayerParams
from pynq_train.graph.image_format import ImageFormat
from pynq_train.train.loop import Saving
from pynq_train.train.planning import Place
from pynq_train.train.schedules import whole


def check_board(board: Any, normalise: Any) -> tuple[str, Place | None, bool]:
    """Return the name of a board or place, the place, and whether to normalise.

    BadInput for other types.
    """
    normalise = flag("normalise", normalise)
    if isinstance(board, str):
        return board, None, normalise
    if not callable(getattr(board, "planned", None)):
        raise BadInput("board", expected="a name such as 'golden'", found=repr(board)[:80])
    return board.name, board, normalise


def check_count(images: int, batch: int, accumulate: int) -> None:
    """Raise BadInput if there are fewer training images than those of an update."""
    if images < batch * accumulate:
        several = "" if accumulate == 1 else f"{accumulate} of "
        raise BadInput("training images", found=images, fix="use a smaller batch",
                       expected=f"at least one mini-batch ({several}{batch})")


def flag(what: str, value: Any) -> bool:
    """Return True or False; BadInput for something else. ``what``: its name."""
    value = plain(value)
    if not isinstance(value, bool):
        raise BadInput(what, expected="True or False", found=repr(value)[:80])
    return value


def check_normalise(normalise: bool, form: ImageFormat) -> None:
    """Check that mean and deviation are not both measured and said; BadInput if they are."""
    if normalise and form.normalisation is not None:
        raise BadInput("normalise", expected="False: mean and deviation of the images are "
                       f"known ({form})", found=True)


def check_pair(what: str, data: Any) -> tuple[Any, Any]:
    """Return images and labels of a pair; BadInput if it is none. ``what``: its name."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise BadInput(what, expected="a pair (images, labels)", found=kind_of(data))
    return data[0], data[1]


def check_given(params: Any) -> dict[str, LayerParams]:
    """Return parameters by layer name; BadInput if they are something else."""
    if not isinstance(params, Mapping) or not all(
            isinstance(one, LayerParams) for one in params.values()):
        raise BadInput("params", expected="LayerParams by layer name", found=kind_of(params))
    return dict(params)


def changed_options(options: Mapping[str, tuple[Any, Any]]) -> str:
    """Return what was changed of options that a run under way depends on; empty for nothing.

    ``options``: saved and present value by name. A saved tuple comes back as a list.
    """
    def text(value: Any) -> str:
        return repr(list(value) if isinstance(value, tuple) else value)

    return ", ".join(f"{name}={text(now)} (saved with {text(saved)})"
                     for name, (saved, now) in options.items() if text(saved) != text(now))


def saving_of(path: str | os.PathLike[str] | None, every: int | None) -> Saving | None:
    """Return where and when checkpoints go; None for none.

    Raises:
        BadInput: ``every`` is no number of steps, or is given without a path.
    """
    if every is not None:
        every = whole("checkpoint_every", every, 1)
    if path is None:
        if every is not None:
            raise BadInput("checkpoint_every without checkpoint",
                           fix="say where checkpoints go: checkpoint='FILE.safetensors'")
        return None
    return Saving(path_text(path, "checkpoint"), every)


def kind_of(value: Any) -> str:
    """Return what a value is, for messages."""
    size = f" of {len(value)}" if isinstance(value, (tuple, list, dict)) else ""
    return f"{type(value).__name__}{size}"
