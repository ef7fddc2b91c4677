"""Faults of all kinds on the virtual board, and kills: what is not clean?

    python -m benchmarks.fault_trials --trials 200 --saves 100 --kills 50
    python -m benchmarks.fault_trials --trials 40 --kinds "lost flush" "register write" --seed 7

Each trial injects one fault into a training step, an evaluation or a calibration of a small network
(``benchmarks/faults/kinds.py``). Clean is: the action works and leaves golden's bits, or ends in an
error of this package with the weights of before; undisturbed runs behind it leave golden's bits.
Saves and trainings are killed with SIGKILL at random moments; nothing may be lost.

Every trial is a line of ``--log`` when it ends, and one that is there is not repeated: interrupted,
the same command goes on. Exit code 1: something was not clean.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults.bench import Bench, nets
from benchmarks.faults.kills import killed_save, killed_training, remains, train
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.trial import attempt

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "build" / "fault_trials.jsonl"
SAVES, TRAININGS = "kill in a save", "kill in a training"
_BATCH = 4


class Log:
    """Trials that have ended, one line of a file each.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        path.parent.mkdir(parents=True, exist_ok=True)
        if whole != text:  # the last line was cut by a kill
            path.write_text(whole, encoding="utf-8")
        self.trials: dict[tuple[str, int, int], dict[str, Any]] = {}
        for line in whole.splitlines():
            self._take(json.loads(line))

    def add(self, kind: str, seed: int, number: int, wrong: str, text: str = "") -> None:
        """Write a trial down: what was ``wrong`` is empty if it was clean."""
        trial = {"kind": kind, "seed": seed, "number": number, "wrong": wrong, "text": text}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial) + "\n")
        self._take(trial)
        if wrong:
            print(f"not clean: {kind}, --seed {seed}, trial {number}: {wrong} [{text}]",
                  flush=True)

    def _take(self, trial: dict[str, Any]) -> None:
        self.trials[trial["kind"], trial["seed"], trial["number"]] = trial


def inject(log: Log, kinds: Sequence[str], trials: int, seed: int) -> None:
    """Run the trials that are not in the log, the kinds in turn."""
    benches: dict[str, Bench] = {}
    graphs = nets()
    try:
        for number in range(trials):
            kind = kinds[number % len(kinds)]
            if (kind, seed, number) in log.trials:
                continue
            rng = random.Random(f"{kind} {seed} {number}")
            net = rng.choice(sorted(graphs))
            if net not in benches:
                benches[net] = Bench(graphs[net], _BATCH, seed)
            outcome = attempt(benches[net], KINDS[kind], rng)
            log.add(kind, seed, number, outcome.wrong, f"{net}: {'; '.join(outcome.ends)}")
            if outcome.wrong:
                benches.pop(net).close()  # the next trial starts from a new board
    finally:
        for bench in benches.values():
            bench.close()


def kill_saves(log: Log, count: int, seed: int) -> None:
    """Kill ``count`` saves, without those that are in the log."""
    todo = [n for n in range(count) if (SAVES, seed, n) not in log.trials]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        for number in todo:
            rng = random.Random(f"save {seed} {number}")
            wrong = killed_save(path, rng)
            log.add(SAVES, seed, number, wrong or (remains(path) if number == todo[-1] else ""))


def kill_trainings(log: Log, count: int, seed: int) -> None:
    """Kill trainings ``count`` times, without the kills that are in the log."""
    done = sum(kind == TRAININGS and own == seed for kind, own, _ in log.trials)
    if done >= count:
        return
    with tempfile.TemporaryDirectory() as whole:
        wanted, seconds = train(Path(whole))
    while done < count:
        rng = random.Random(f"training {seed} {done}")
        with tempfile.TemporaryDirectory() as folder:
            kills, wrong = killed_training(Path(folder), wanted, seconds,
                                           min(rng.randint(1, 4), count - done), rng)
        for _ in range(kills):
            log.add(TRAININGS, seed, done, wrong)
            done += 1
        seconds *= 1 if kills else 0.8  # the machine is faster than it was


def table(log: Log, kinds: Sequence[str], seed: int) -> str:
    """Return the trials of a seed by kind, as a Markdown table."""
    every, bad = Counter[str](), Counter[str]()
    for (kind, own, _), trial in log.trials.items():
        if own == seed:
            every[kind] += 1
            bad[kind] += bool(trial["wrong"])
    rows = [f"| {kind} | {every[kind]} | {bad[kind]} |" for kind in (*kinds, SAVES, TRAININGS)
            if every[kind]]
    return "\n".join(["| kind | trials | not clean |", "|---|---|---|", *rows,
                      f"| all | {every.total()} | {bad.total()} |"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, print the table; 1 if something was not clean."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=0, help="faults to inject")
    parser.add_argument("--saves", type=int, default=0, help="saves to kill")
    parser.add_argument("--kills", type=int, default=0, help="kills of trainings")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS),
                        metavar="KIND", help="kinds of faults: " + ", ".join(KINDS))
    parser.add_argument("--log", type=Path, default=LOG, help="where trials are written down")
    args = parser.parse_args(arguments)
    logging.getLogger("pynq_train").addHandler(logging.NullHandler())  # what is told is counted
    log = Log(args.log)
    inject(log, args.kinds, args.trials, args.seed)
    kill_saves(log, args.saves, args.seed)
    kill_trainings(log, args.kills, args.seed)
    print(table(log, args.kinds, args.seed))
    return int(any(trial["wrong"] for trial in log.trials.values()
                   if trial["seed"] == args.seed))


if __name__ == "__main__":
    sys.exit(main())
