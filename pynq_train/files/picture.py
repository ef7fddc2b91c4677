"""Pictures of matplotlib, written and let go of."""

from __future__ import annotations

import os
from typing import Any

from pynq_train.errors import BadInput


def save_picture(pyplot: Any, figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG and close it, also where it cannot be written.

    Args:
        pyplot: the module ``matplotlib.pyplot``, which made the figure.
        figure: the figure.
        path: the file.

    Raises:
        BadInput: it cannot be written.
    """
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=130, format="png")
    except OSError as error:
        raise BadInput(f"cannot write {str(path)!r} ({error.strerror})",
                       fix="choose an existing, writable folder") from None
    finally:
        pyplot.close(figure)
