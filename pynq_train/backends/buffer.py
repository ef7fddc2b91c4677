"""The buffers of ``pynq``, made to work beside NumPy 2.

Imports ``pynq``: import this module only where a board is used. What allocates or checks buffers
takes ``PynqBuffer`` from here, so that none is made before the class is mended.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pynq.buffer import PynqBuffer

__all__ = ["PynqBuffer", "mend_device"]


def mend_device(buffer_type: type[Any]) -> None:
    """Let the instances of a subclass of ``ndarray`` set ``device`` again.

    A buffer of pynq keeps its device under that name. Since NumPy 2.0 an ``ndarray`` has a
    read-only attribute of the same name, so that every ``pynq.allocate`` ends in an
    AttributeError. An attribute of the subclass hides that of ``ndarray``. Nothing is changed
    with an older NumPy, or when the subclass has the attribute already.
    """
    if "device" in vars(np.ndarray) and "device" not in vars(buffer_type):
        buffer_type.device = None


mend_device(PynqBuffer)
