"""The descriptors of some layers of a program as a program of their own.

A segment runs its layers' descriptors in their order. Waits for what other segments do are gone:
their maps are there when it starts. Its cycles are those of the cycle model, or of the RTL, for
these descriptors alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container
from dataclasses import replace

from pynq_train.hw.commands import WAIT_OF, pack_descriptor
from pynq_train.schedule.lower.program import ProgramImage


def layer_slice(image: ProgramImage, layers: Container[int]) -> ProgramImage:
    """Return the program of some layers.

    Args:
        image: the program of the whole network.
        layers: positions of the layers.
    """
    kept = [at for at, own in enumerate(image.descriptors) if own.layer in layers]
    signals: dict[int, list[int]] = {}
    for at, fields in enumerate(image.fields):
        signals.setdefault(fields["pre.signal"], []).append(at)
    chosen = {semaphore: [at for at in places if image.descriptors[at].layer in layers]
              for semaphore, places in signals.items()}
    all_fields = []
    for number, at in enumerate(kept):
        fields = {**image.fields[at], "pre.number": number}
        for wait in sorted(set(WAIT_OF.values())):
            count = fields.get(f"pre.wait_{wait}", 0)
            if not count:
                continue
            semaphore = fields[f"pre.wait_{wait}_sem"]
            # The first ``count`` descriptors that signal it must be complete: of these, ours.
            last = signals[semaphore][count - 1]
            fields[f"pre.wait_{wait}"] = bisect_left(chosen[semaphore], last + 1)
        all_fields.append(fields)
    program = b"".join(pack_descriptor(fields) for fields in all_fields)
    return replace(image, descriptors=tuple(image.descriptors[at] for at in kept),
                   fields=tuple(all_fields), program=program)
