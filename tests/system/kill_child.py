"""A training that goes on from its checkpoint, if there is one: ``kill_child.py FOLDER``.

Says ``training`` when it begins to, and leaves ``result.json`` when it has ended.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

import pynq_train as pt
from pynq_train.train.checkpoint import load

EPOCHS = 12


class Begun(pt.callbacks.Callback):
    """Tells the parent that steps begin."""

    def on_begin(self, learner: pt.Learner) -> None:
        sys.stdout.write("training\n")
        sys.stdout.flush()


def bits(path: Path) -> str:
    """Everything that a checkpoint holds but wall-clock times, as a hash."""
    saved = load(path)
    digest = hashlib.sha256()
    for name, own in sorted(saved.masters.items()):
        digest.update(name.encode())
        for field in fields(own):
            array = getattr(own, field.name)
            digest.update(b"" if array is None else array.tobytes())
    state = dict(saved.state)
    for epoch in state["history"]:
        epoch["seconds"] = 0
    if state["run"] is not None:
        state["run"]["tally"]["seconds"] = 0
    digest.update(json.dumps(state, sort_keys=True).encode())
    return digest.hexdigest()


def main(folder: Path) -> None:
    rng = np.random.RandomState(5)
    y = rng.randint(0, 3, 52)
    x = rng.standard_normal((52, 1, 6, 6)).astype(np.float32) * 0.5
    for i, label in enumerate(y):
        x[i, 0, 2 * label] += 0.5
    path, best = folder / "model.safetensors", folder / "best.safetensors"
    resume = path.exists()
    if resume:
        learner = pt.load(path)
        resume = learner.state.run is not None or learner.steps > 0
    else:
        net = pt.Sequential((1, 6, 6), "small").conv(4, 3, padding=1).norm().relu()
        net = net.conv(4, 3, padding=1).relu().pool().dropout(0.25).dense(3)
        schedule = pt.schedules.Cosine(end=0.1) * pt.schedules.Steps(at=(0.3,), drop=0.5)
        learner = pt.Learner(net.build(), batch=8, normalise=True, optimizer=pt.SGD(
            lr=0.1, schedule=schedule, layer_lr={"*.bias": 2.0}, clip=2.0**-5))
    if not resume or learner.state.run is not None:
        learner.fit(x, y, epochs=EPOCHS, validation_data=(x[:20], y[:20]), progress=False,
                    resume=resume, checkpoint=path, checkpoint_every=1, callbacks=[
                        Begun(), pt.callbacks.EarlyStopping("loss", patience=EPOCHS),
                        pt.callbacks.BestModel(best)])
    found = {"model": bits(path), "best": bits(best), "steps": learner.steps}
    (folder / "result.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
