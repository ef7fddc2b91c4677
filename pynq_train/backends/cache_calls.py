"""What flushes and invalidates a part of a buffer of ``pynq``: the range alone, where that goes.

Up to pynq 3.0, ``buffer.flush()`` of a slice is a flush of the slice. Since 3.1 it is one of the
whole buffer object, twice per step 20 MB for a network like '1X'; the object itself takes a range.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

Calls = tuple[Callable[[], object], Callable[[], object]]
"""A call without arguments that flushes, and one that invalidates."""


def own_calls(part: Any) -> Calls:
    """Return the methods of the part itself: they honour its range, or do more than that."""
    return lambda: part.flush(), lambda: part.invalidate()


def device_calls(part: Any) -> Calls:
    """Return the calls of the device that the methods of a part make, with what they look up.

    Nothing that they look up changes while the buffer is there, and that takes a processor longer
    than the call itself.
    """
    if part.coherent:
        return own_calls(part)
    device, where = part.device, (part.bo, part.offset, part.virtual_address, part.nbytes)
    return lambda: device.flush(*where), lambda: device.invalidate(*where)


def object_calls(part: Any) -> Calls:
    """Return calls of the buffer object of XRT (``pyxrt.bo``) for the range of a part.

    ``bo.sync(direction, size, offset)``; pynq 3.1 and newer leave size and offset out.
    """
    pyxrt = import_module("pyxrt")  # of the board's image alone

    to = pyxrt.xclBOSyncDirection
    where = part.nbytes, part.offset
    return (partial(part.bo.sync, to.XCL_BO_SYNC_BO_TO_DEVICE, *where),
            partial(part.bo.sync, to.XCL_BO_SYNC_BO_FROM_DEVICE, *where))


def calls_for(buffer: Any, device: Any, version: tuple[int, ...]
              ) -> tuple[bool, Callable[[Any], Calls]]:
    """Return how the parts of a buffer are synchronised.

    Args:
        buffer: the buffer, made by ``pynq.allocate``.
        device: the device that made it. A virtual one says ``ranged_sync`` whether its calls honour
            ranges.
        version: of pynq, major and minor number.

    Returns:
        Whether ranges are honoured, and what returns the calls for a part.
    """
    ranged = getattr(device, "ranged_sync", None)
    if ranged is None:
        if version >= (3, 1):
            return (True, object_calls) if _takes_ranges(buffer) else (False, own_calls)
        ranged = True
    return ranged, device_calls


def _takes_ranges(buffer: Any) -> bool:
    """Return whether a buffer object of XRT takes a range: tried with an invalidate of its start.

    What the processor wrote there, which nothing has yet, would be lost.
    """
    try:
        object_calls(buffer[: min(buffer.nbytes, 64)])[1]()
    except (ImportError, AttributeError, TypeError):  # another pyxrt, or none
        return False
    return True
