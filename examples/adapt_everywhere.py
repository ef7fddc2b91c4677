"""One network adapts in many places, on each rung of the ladder, and forgets none of them.

::

    python examples/adapt_everywhere.py --picture digits.png           # digits of scikit-learn
    python examples/adapt_everywhere.py --speech fsdd_logmel.npz --digits mnist.npz

A digit reader goes through three domains: another pen, the negative, noise. With ``--speech`` (the
file of examples/personalise_speaker.py) a keyword spotter goes through all speakers; it was trained
on the first half of them, on other recordings. On each rung one learner adapts to one place after
the other, each time from where it began, and keeps what it has learnt as a domain. In the end it
goes back to each: the predictions must have the bits that they had. The picture shows what a rung
gives against the memory and the time that it takes.

``--digits`` takes an .npz file with ``x_train``, ``y_train``, ``x_test``, ``y_test``, grey bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import pynq_train as pt
from pynq_train.adaptation import BATCH, EPOCHS, Settings
from pynq_train.shifts import shifted

RUNGS = ("last-layer", "bias", "norm", "last-block", "skip-lora", "sparse", "lora", "da3", "all")
DOMAINS = ("pen", "inverted", "noise")
TRAINED, MINE, TESTED = 1000, 100, 300
"""Digits that train the reader, that it adapts to in each domain, and that test it there."""
PER_DIGIT, KNOWN_FROM = 5, 10
"""Recordings of a digit that test a speaker, and as many to adapt to; later ones may train."""
BASE_EPOCHS, BASE_BATCH, BASE_LR = 6, 32, 0.05

Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Place:
    """Where a network adapts: samples to adapt to, and samples that test."""

    name: str
    mine: Samples
    test: Samples


@dataclass(frozen=True)
class Stay:
    """What a rung came to: accuracies (0..1) by place, and what an adaptation takes."""

    rung: str
    accuracy: dict[str, float]
    nbytes: int
    seconds: float

    @property
    def mean(self) -> float:
        """Mean accuracy of all places."""
        return float(np.mean(list(self.accuracy.values())))


def network(rows: int, classes: int) -> pt.Graph:
    """Three normalised convolutions with pooling, and a classifier."""
    net = pt.Sequential((1, rows, rows), "everywhere")
    for channels in (16, 32, 32):
        net.conv(channels, 3, padding=1, bias=False).norm().relu()
        if channels < 32 or rows > 8:
            net.pool()
    return net.dense(classes).build()


def trained(samples: Samples, epochs: int, seed: int) -> pt.Model:
    """The network behind its training, on golden."""
    x, y = samples
    net = network(x.shape[-1], int(y.max()) + 1)
    optimizer = pt.SGD(lr=BASE_LR, schedule="cosine", warmup_steps=5)
    with pt.Learner(net, optimizer=optimizer, batch=min(BASE_BATCH, len(y)), seed=seed,
                    normalise=True, input_range=(0, 1)) as learner:
        learner.fit(x, y, epochs=epochs, progress=False)
        return pt.Model(net, learner.params, learner.input_format)


def digit_places(path: Path | None, seed: int) -> tuple[Samples, list[Place]]:
    """Digits to train on, and shifted copies of others."""
    if path is None:
        data = pt.load_digits()
        x, tests = (grey(part.x[:, 0]) for part in (data.train, data.test))
        y, wanted = data.train.y, data.test.y
    else:
        with np.load(path) as file:
            missing = {"x_train", "y_train", "x_test", "y_test"} - set(file.files)
            if missing:
                raise SystemExit(f"{path}: expected x_train, y_train, x_test and y_test, found "
                                 f"{', '.join(file.files)}")
            x, y, tests, wanted = (file[name] for name in ("x_train", "y_train", "x_test",
                                                           "y_test"))
    found = []
    for at, name in enumerate(DOMAINS):
        part = slice(TRAINED + at * MINE, TRAINED + (at + 1) * MINE)
        found.append(Place(name, (shifted(x[part], name, seed), y[part].astype(np.int64)),
                           (shifted(tests[:TESTED], name, seed + 1),
                            wanted[:TESTED].astype(np.int64))))
    return (x[:TRAINED], y[:TRAINED].astype(np.int64)), found


def grey(x: np.ndarray) -> np.ndarray:
    """Normalised images as grey bytes."""
    return np.rint(255 * (x - x.min()) / (x.max() - x.min())).astype(np.uint8)


def speech_places(path: Path) -> tuple[Samples, list[Place]]:
    """Recordings of the first half of the speakers to train on, and places for all of them."""
    with np.load(path) as file:
        missing = {"x", "y", "user", "index"} - set(file.files)
        if missing:
            raise SystemExit(f"{path}: expected x, y, user and index, found "
                             f"{', '.join(file.files)}")
        x, y, user, index = (file[name] for name in ("x", "y", "user", "index"))
        names = file["users"].tolist() if "users" in file.files else None
    y, speakers = y.astype(np.int64), np.unique(user)
    known = np.isin(user, speakers[:max(1, len(speakers) // 2)]) & (index >= KNOWN_FROM)
    found = []
    for speaker in speakers:
        own = user == speaker
        test, mine = own & (index < PER_DIGIT), own & (index >= PER_DIGIT) & (index < KNOWN_FROM)
        name = names[speaker] if names else f"speaker {speaker}"
        found.append(Place(name, (x[mine], y[mine]), (x[test], y[test])))
    return (x[known], y[known]), found


def travel(model: pt.Model, rung: str, places: Sequence[Place], settings: Settings) -> Stay:
    """Adapt to one place after the other, then go back to each.

    Raises:
        SystemExit: a place was forgotten.
    """
    with settings.learner(settings.network(model, rung), settings.batch or BATCH) as learner:
        learner.domains.keep("start")
        accuracy, answers = {}, {}
        for place in places:
            learner.domains.use("start")
            learner.fit(*place.mine, epochs=settings.epochs, progress=False)
            learner.domains.keep(place.name)
            accuracy[place.name] = learner.evaluate(*place.test).accuracy
            answers[place.name] = learner.logits(place.test[0])
        for place in places:
            learner.domains.use(place.name)
            if not np.array_equal(learner.logits(place.test[0]), answers[place.name]):
                raise SystemExit(f"{rung}: {place.name} was forgotten")
        steps = settings.epochs * (len(places[0].mine[1]) // learner.batch)
        return Stay(rung, accuracy, learner.plan.memory.nbytes, learner.board_time(steps).both)


def journey(title: str, base: Samples, places: Sequence[Place], options: argparse.Namespace
            ) -> list[Stay]:
    """Train a network, let it adapt everywhere on every rung, and print what came of it."""
    model = trained(base, options.base_epochs, options.seed)
    settings = Settings(options.board, options.epochs, BATCH, seed=options.seed)
    with settings.learner(settings.network(model, "last-layer"), BATCH) as learner:
        before = Stay("(before)", {place.name: learner.evaluate(*place.test).accuracy
                                   for place in places}, 0, 0.0)
    width = max(10, *(len(place.name) + 2 for place in places))
    print(f"{title}, accuracy in percent\n{'rung':<14}"
          + "".join(f"{place.name:>{width}}" for place in places)
          + f"{'mean':>8}{'bytes':>11}{'seconds':>9}")
    stays = []
    for stay in (before, *(travel(model, rung, places, settings) for rung in options.rungs)):
        print(f"{stay.rung:<14}" + "".join(f"{100 * value:>{width}.1f}"
                                           for value in stay.accuracy.values())
              + f"{100 * stay.mean:>8.1f}"
              + (f"{stay.nbytes:>11,}{stay.seconds:>9.2f}" if stay.nbytes else ""), flush=True)
        stays.append(stay)
    print("no place was forgotten: all predictions have the bits that they had")
    return stays


def picture(journeys: dict[str, list[Stay]], path: Path) -> None:
    """Draw accuracy by rung against memory and time; a journey a row."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(journeys), 2, sharey="row", squeeze=False,
                                figsize=(10, 4 * len(journeys)), layout="constrained")
    for row, (title, (before, *stays)) in zip(axes, journeys.items()):
        for axis, values, label in zip(
                row, ([stay.nbytes / 1e3 for stay in stays], [stay.seconds for stay in stays]),
                ("memory of a training, kB", f"seconds of an adaptation to {title}")):
            axis.axhline(100 * before.mean, linestyle="--", color="grey", label="before")
            for value, stay in zip(values, stays):
                axis.plot(value, 100 * stay.mean, "o")
                axis.annotate(stay.rung, (value, 100 * stay.mean), xytext=(4, 4), fontsize=8,
                              textcoords="offset points")
            axis.set_xscale("log")
            axis.set_xlabel(label)
        row[0].set_ylabel(f"{title}: mean accuracy, %")
        row[0].legend()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Go everywhere."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--speech", type=Path, help=".npz file of several speakers")
    parser.add_argument("--digits", type=Path, help=".npz file of digits (default: those of "
                        "scikit-learn)")
    parser.add_argument("--board", default="golden", help="where the networks adapt")
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), help="ways to adapt",
                        choices=(*pt.TRAINABLE_CHOICES, *pt.RUNGS))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="passes over a place's samples")
    parser.add_argument("--base-epochs", type=int, default=BASE_EPOCHS,
                        help="passes that train the networks")
    parser.add_argument("--seed", type=int, default=0, help="start weights, orders, shifts")
    parser.add_argument("--picture", type=Path, help="draw accuracy against memory and time")
    parser.add_argument("--json", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    if options.picture is not None:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            raise SystemExit("--picture needs matplotlib: pip install matplotlib") from None
    journeys = {"three domains": journey("a digit reader in three domains",
                                         *digit_places(options.digits, options.seed), options)}
    if options.speech is not None:
        base, places = speech_places(options.speech)
        title = f"{len(places)} speakers"
        journeys[title] = journey(f"a keyword spotter and {title}", base, places, options)
    if options.picture is not None:
        picture(journeys, options.picture)
    if options.json is not None:
        options.json.write_text(json.dumps({
            title: [asdict(stay) for stay in stays] for title, stays in journeys.items()},
            indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
