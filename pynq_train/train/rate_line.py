"""The first line of a training: what its learning rate does."""

from __future__ import annotations

import logging
import sys

from pynq_train.train.optimizer import SGD

_LOG = logging.getLogger(__name__)
_ANEW = "rate begins anew"
"""Kind of the warning that the rate begins anew in each call, among those that were given."""


def say_rate(optimizer: SGD, total_steps: int, *, accumulate: int, begins: bool, progress: bool,
             warned: set[str]) -> None:
    """Say what the learning rate does in a call of ``fit``.

    It is logged as a warning, once, where the rate does something that nobody has asked for:
    Python shows no milder records unless it is told to. So is, once, that the rate begins anew in
    each call. Else it is a line above the progress bar.

    Args:
        optimizer: with its schedule.
        total_steps: mini-batches of all epochs.
        accumulate: mini-batches of an update.
        begins: False where an interrupted call goes on.
        progress: whether lines and bars are wanted.
        warned: kinds of warnings given so far; new ones are added.
    """
    updates = total_steps // accumulate
    text = optimizer.describe(updates, "step" if accumulate == 1 else "update")
    kind = f"rate of {optimizer}"
    again = begins and kind in warned and not optimizer.stays
    if not optimizer.stated and kind not in warned:
        _LOG.warning("%s; each call of fit begins it anew; schedule='constant' keeps the rate, and "
                     "schedule= with warmup_steps= ends this message", text)
    elif again and _ANEW not in warned:
        warned.add(_ANEW)
        _LOG.warning("%s; it has begun anew: every call of fit has a schedule of its own; train "
                     "all epochs in one call, or use schedule='constant'", text)
    elif progress:
        from tqdm import tqdm

        tqdm.write(f"{text}, as in the call before" if again else text, file=sys.stderr)
    warned.add(kind)
