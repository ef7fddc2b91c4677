"""A recogniser of spoken digits adapts to a speaker whom it has never heard.

For each speaker: train on the others, measure on the speaker's test recordings, adapt to five of
the speaker's own recordings per digit, measure again. The same fine-tuning runs in float32, from
the same weights, to show what fixed point costs.

    python examples/personalise_speaker.py --data fsdd_logmel.npz
    python examples/personalise_speaker.py --data fsdd_logmel.npz --own my_voice.npz

An .npz file holds ``x`` (n, rows, cols), log-mel images of one size, and ``y`` (n,), the digits;
with several speakers also ``user`` (n,) and ``index`` (n,), the number of a recording among those
of its speaker and digit. A file of one's own needs ``x`` and ``y`` alone: the first five
recordings of each digit are for testing, the next five to adapt to.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import pynq_train as pt

PER_DIGIT = 5
"""Recordings per digit for testing (index 0..4) and as many to adapt to (index 5..9)."""
BASE_EPOCHS, BASE_BATCH = 4, 32
EPOCHS, BATCH, LR = 30, 10, 0.02


@dataclass(frozen=True)
class Recordings:
    """Images, digits, speakers and the number of each recording; equally long."""

    x: np.ndarray
    y: np.ndarray
    user: np.ndarray
    index: np.ndarray

    def of(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and digits where ``chosen`` is true."""
        return self.x[chosen], self.y[chosen].astype(np.int64)

    def testing(self, speaker: int) -> np.ndarray:
        """Which recordings test a speaker."""
        return (self.user == speaker) & (self.index < PER_DIGIT)

    def adapting(self, speaker: int) -> np.ndarray:
        """Which recordings a network adapts to."""
        return ((self.user == speaker) & (self.index >= PER_DIGIT)
                & (self.index < 2 * PER_DIGIT))


def load(path: Path) -> Recordings:
    """Read a file of several speakers, or of one.

    Raises:
        SystemExit: a missing array, or too few recordings.
    """
    with np.load(path) as data:
        missing = {"x", "y"} - set(data.files)
        if missing:
            raise SystemExit(f"{path}: expected the arrays x and y, found {data.files}")
        x, y = data["x"], data["y"]
        user = data["user"] if "user" in data.files else np.zeros(len(y), np.int64)
        index = data["index"] if "index" in data.files else numbers(y, user)
    found = Recordings(x, y, user, index)
    for speaker in np.unique(user):
        if not found.testing(speaker).any() or not found.adapting(speaker).any():
            raise SystemExit(f"{path}: expected more than {PER_DIGIT} recordings of a digit of "
                             f"each speaker, found fewer of speaker {speaker}")
    return found


def numbers(y: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Number of each recording among those of its speaker and digit, in the order of the file."""
    index = np.zeros(len(y), np.int64)
    for one in set(zip(user.tolist(), y.tolist())):
        chosen = (user == one[0]) & (y == one[1])
        index[chosen] = np.arange(chosen.sum())
    return index


def network(shape: tuple[int, ...], classes: int) -> pt.Graph:
    """Three convolutions with pooling and a classifier: 29,000 parameters for 32x32 images."""
    net = pt.Sequential((1, *shape), "speaker")
    for channels in (16, 32, 64):
        net.conv(channels, 3, padding=1).relu().pool()
    return net.dense(classes).build()


@dataclass(frozen=True)
class Result:
    """One speaker: accuracies (0..1) in fixed point and float32, and the price on the board."""

    speaker: str
    before: float
    after: float
    float_after: float
    steps: int
    cycles: int
    counted: bool
    engine_seconds: float
    board_seconds: float
    arena_bytes: int

    def text(self) -> str:
        """One line."""
        how = "counted" if self.counted else "predicted"
        return (f"{self.speaker:<10} before {self.before:.3f}  after {self.after:.3f}  "
                f"float32 {self.float_after:.3f}  {self.steps} steps, {self.cycles} cycles {how}, "
                f"{self.engine_seconds:.3f} s of the engine, about {self.board_seconds:.3f} s with "
                f"the processor (estimated), {self.arena_bytes} bytes")


def train_base(data: Recordings, chosen: np.ndarray, path: Path, seed: int) -> None:
    """Train a network on the chosen recordings and save it."""
    x, y = data.of(chosen)
    net = network(data.x.shape[1:3], int(data.y.max()) + 1)
    optimizer = pt.SGD(lr=0.03, schedule="cosine", weight_decay=1e-3)
    learner = pt.Learner(net, board="golden", optimizer=optimizer, batch=min(BASE_BATCH, len(y)),
                         seed=seed, normalise=True)
    learner.fit(x, y, epochs=BASE_EPOCHS, progress=False)
    learner.save(path)


def adapt(base: Path, own: Recordings, speaker: int, name: str,
          options: argparse.Namespace) -> Result:
    """Adapt a saved network to a speaker, on the board and in float32."""
    optimizer = pt.SGD(lr=options.lr, schedule="cosine", warmup_steps=5)
    test, mine = own.of(own.testing(speaker)), own.of(own.adapting(speaker))
    with pt.load(base, board=options.board, batch=BATCH, optimizer=optimizer,
                 trainable=options.trainable) as learner:
        start, steps, epochs = learner.params, learner.steps, learner.state.epochs
        before = learner.evaluate(*test).accuracy
        history = learner.fit(*mine, epochs=options.epochs, progress=False)
        after = learner.evaluate(*test).accuracy
        steps = learner.steps - steps
        counted = sum(epoch.cycles for epoch in history.epochs[-options.epochs :])
        cycles = counted or steps * learner.predicted_step().cycles
        plan, spent = learner.plan, learner.board_time(steps, counted or None)
    twin = pt.fit_float(learner.graph, *mine, epochs=options.epochs, optimizer=optimizer,
                        batch=BATCH, seed=learner.seed, validation_data=test,
                        normalisation=learner.normalisation, params=start,
                        trainable=options.trainable, epochs_before=epochs)
    float_after = twin.epochs[-1].val_accuracy
    assert float_after is not None
    return Result(name, before, after, float_after, steps, cycles, bool(counted),
                  spent.engine, spent.both, plan.memory.nbytes)


def summary(results: list[Result]) -> dict[str, Any]:
    """Means over the speakers; gains in points."""
    before, after, twin = (float(np.mean([getattr(r, key) for r in results]))
                           for key in ("before", "after", "float_after"))
    return {"before": before, "after": after, "float_after": twin,
            "gain_points": 100 * (after - before), "float_gain_points": 100 * (twin - before),
            "engine_seconds": float(np.mean([r.engine_seconds for r in results])),
            "board_seconds": float(np.mean([r.board_seconds for r in results])),
            "arena_bytes": max(r.arena_bytes for r in results)}


def main() -> None:
    """Run the experiment and print one line per speaker."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=".npz file of several speakers")
    parser.add_argument("--own", type=Path, help="adapt to the recordings of this .npz file")
    parser.add_argument("--board", default="golden", help="where the network adapts")
    parser.add_argument("--trainable", default="last-block",
                        help=f"what is trained while adapting: {', '.join(pt.TRAINABLE_CHOICES)}, "
                        "or the pattern of a layer")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the recordings")
    parser.add_argument("--lr", type=float, default=LR, help="learning rate of the adaptation")
    parser.add_argument("--seed", type=int, default=0, help="start weights, order of recordings")
    parser.add_argument("--speaker", type=int, help="only this speaker, not each")
    parser.add_argument("--models", type=Path, default=Path("build/speakers"),
                        help="folder for the networks before adapting; those there are used")
    parser.add_argument("--json", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    options.models.mkdir(parents=True, exist_ok=True)
    data = load(options.data)
    own = load(options.own) if options.own else data
    speakers = np.unique(own.user) if options.speaker is None else [options.speaker]
    results = []
    for speaker in speakers:
        left_out = "" if options.own else f"-without-{speaker}"
        base = options.models / f"seed{options.seed}{left_out}.safetensors"
        if not base.exists():
            others = np.full(len(data.y), True) if options.own else data.user != speaker
            train_base(data, others, base, options.seed)
        results.append(adapt(base, own, speaker, f"speaker {speaker}", options))
        print(results[-1].text(), flush=True)
    means = summary(results)
    print(f"mean       before {means['before']:.3f}  after {means['after']:.3f}  float32 "
          f"{means['float_after']:.3f}  gain {means['gain_points']:.1f} points, float32 "
          f"{means['float_gain_points']:.1f}")
    if options.json:
        options.json.write_text(json.dumps({"speakers": [asdict(r) for r in results],
                                            "mean": means}, indent=2) + "\n")


if __name__ == "__main__":
    main()
