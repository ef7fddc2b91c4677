"""A script as users write it: it names no board. It prints what it found and learned as JSON."""

from __future__ import annotations

import hashlib
import json

import numpy as np

import pynq_train as pt
from pynq_train.overlays import this_machine


def digest(learner: pt.Learner) -> str:
    """SHA-256 of all weights and biases."""
    parts = [array.tobytes() for one in learner.params.values()
             for array in (one.weight, one.bias) if array is not None]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def main() -> None:
    """Load the overlay by hand, then train on the board and on golden."""
    from pynq_train.backends.overlay import TrainOverlay  # imports pynq

    overlay = TrainOverlay()
    image, identity = overlay.device.name, overlay.engine.read_register("ID")
    overlay.device.close()

    draw = np.random.RandomState(0)
    x, y = draw.randint(0, 256, (96, 1, 8, 8)).astype(np.uint8), draw.randint(0, 10, 96)
    result: dict[str, object] = {"board": this_machine(), "image": image, "id": identity}
    for board, prefix in ((this_machine(), ""), ("golden", "golden ")):
        with pt.Learner("digits", board=board, optimizer=pt.SGD(lr=0.05), batch=32,
                        normalise=True) as learner:
            history = learner.fit(x, y, epochs=2, progress=False)
            result[f"{prefix}weights"] = digest(learner)
            result[f"{prefix}losses"] = history.batch_losses
            if not prefix:
                result["cycles"] = history.epochs[-1].cycles
    print(json.dumps(result))


if __name__ == "__main__":
    main()
