"""MobileNet-0.25 on the doodles, trained whole and block by block.

    python -m benchmarks.block_training --data ../shared/data            # what is not stored yet
    python -m benchmarks.block_training --data ../shared/data --seeds 1 --minutes 60
    python -m benchmarks.block_training                                  # the table alone

A run trains in float32 with PyTorch, then the last tenth of its epochs on golden, from the float
weights, where the learning rate has come to. Blocks are trained by :func:`pynq_train.fleet.
train_blocks`, the whole network as a single block; in float32 likewise, no gradient crosses a cut.
One more run trains the first block wholly on golden.

What has ended is stored in ``benchmarks/results/block_training.json``; what was killed goes on:
float32 from its beginning (minutes), golden from the checkpoint in ``build/block_training``.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import pynq_train as pt
from benchmarks.accuracy.tasks import Recipe, network, samples
from benchmarks.accuracy.training import (
    SAVE_STEPS,
    Params,
    float_training,
    from_arrays,
    to_arrays,
)
from pynq_train import fleet
from pynq_train.errors import PynqTrainError
from pynq_train.files import write_atomic
from pynq_train.graph.image_format import ANY_IMAGES, ImageFormat
from pynq_train.train.images import measure_normalisation

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
WORK = ROOT / "build" / "block_training"
WHOLE, BLOCKS, FIRST = "whole", "blocks", "first block on golden"
SEEDS = 3
LOSS_AT_MOST, FIRST_AT_MOST, CYCLES_AT_MOST = 1.0, 8.0, 0.35
"""Points below the whole network of the last and the first block; share of its cycles."""


@dataclass(frozen=True)
class Campaign:
    """What is trained.

    Attributes:
        recipe: as of the accuracy campaign; its ``epochs`` are those on golden.
        after, heads: where blocks end, and what they have there.
        confidence: from which on a block answers (0..1).
    """

    recipe: Recipe
    after: tuple[str, ...]
    heads: tuple[str, ...]
    confidence: float = 0.9

    def blocks(self, kind: str) -> tuple[fleet.Block, ...]:
        """Return the blocks of a kind of run."""
        graph = network(self.recipe.net)
        if kind == WHOLE:
            return fleet.blocks(graph, [])
        return fleet.blocks(graph, self.after, head=self.heads)


DOODLES = Campaign(Recipe("mobilenet_v1_025", "doodles", 6000, 2, 60, 0.1, float_epochs=18),
                   ("pw1.relu", "pw5.relu"), ("conv", "pooled"))


def optimizer(recipe: Recipe, *, all_epochs: bool = False) -> pt.SGD:
    """Return the optimizer of the end of the line, or of all epochs."""
    sgd = pt.SGD(lr=recipe.lr if all_epochs else recipe.last_rate, momentum=recipe.momentum,
                 schedule=recipe.schedule, weight_decay=recipe.weight_decay)
    return sgd if all_epochs or not recipe.float_epochs else replace(sgd, warmup_steps=0)


class Trial:
    """One run.

    Args:
        campaign: what is trained.
        kind: :data:`WHOLE`, :data:`BLOCKS` or :data:`FIRST`.
        seed: of start weights, chosen images and their order.
        data: folder of the data sets.
        work: folder of what is under way.
    """

    def __init__(self, campaign: Campaign, kind: str, seed: int, data: Path, work: Path) -> None:
        self._campaign, self._seed = campaign, seed
        self._blocks = campaign.blocks(kind)
        self._kind, self._work = kind, work / f"{kind.replace(' ', '-')}-{seed}"
        self._train, self._test = samples(campaign.recipe, data, seed)
        self._form = ANY_IMAGES
        if self._train[0].dtype == np.uint8:
            shape = self._blocks[0].graph.input_shape
            self._form = ImageFormat((0, 1), measure_normalisation(self._train[0], shape,
                                                                   ANY_IMAGES))

    def run(self) -> dict[str, Any]:
        """Return what is stored of it: accuracies by block, in percent, and CPU seconds."""
        self._work.mkdir(parents=True, exist_ok=True)
        began = time.process_time()
        if self._kind == FIRST:
            found = self._first()
        else:
            params, accuracies = self._float()
            found = {"float32": _percent(accuracies), **self._golden(params)}
        return {**found, "cpu_seconds": round(time.process_time() - began, 1)}

    @property
    def _options(self) -> dict[str, Any]:
        norm = self._form.normalisation
        return {"batch": self._campaign.recipe.batch, "seed": self._seed,
                "input_range": self._form.input_range, "mean": norm.mean if norm else None,
                "std": norm.std if norm else None}

    def _float(self) -> tuple[list[Params], list[float]]:
        """Return parameters and accuracies behind the float32 part, kept if it has ended."""
        path = self._work / "float32.npz"
        if path.exists():
            with np.load(path) as arrays:
                params = [from_arrays({name.partition(":")[2]: arrays[name] for name in arrays
                                       if name.startswith(f"{at}:")})
                          for at in range(len(self._blocks))]
                return params, arrays["accuracies"].tolist()
        networks = [(block.graph, block.after) for block in self._blocks]
        params, accuracies = float_training(networks, self._campaign.recipe, self._seed,
                                            self._train, self._test, self._form)
        file = io.BytesIO()
        np.savez(file, accuracies=np.array(accuracies), **{
            f"{at}:{name}": array for at, own in enumerate(params)
            for name, array in to_arrays(own).items()})
        write_atomic(path, file.getvalue())
        return params, accuracies

    def _golden(self, params: Sequence[Params]) -> dict[str, Any]:
        """Train the last epochs on golden, the blocks in turn."""
        campaign, folder = self._campaign, self._work / "golden"
        with fleet.train_blocks(
                self._blocks, *self._train, campaign.recipe.epochs, params=params,
                optimizer=optimizer(campaign.recipe), validation_data=self._test, progress=False,
                checkpoint=folder, resume=(folder / "blocks.json").exists(),
                **self._options) as trained:
            epochs = zip(*(learner.history.epochs for learner in trained.learners))
            curve = [_percent([one.val_accuracy or 0.0 for one in row]) for row in epochs]
            exits = trained.exits(self._test[0], campaign.confidence)
            return {"golden": curve, "exits": _percent(exits.share),
                    "with exits": _percent([float((exits.classes == self._test[1]).mean())])[0]}

    def _first(self) -> dict[str, Any]:
        """Train the first block wholly on golden: its bits are those of a learner."""
        recipe, path = self._campaign.recipe, self._work / "first.safetensors"
        if path.exists():
            learner = pt.load(path, board="golden")
        else:
            learner = pt.Learner(self._blocks[0].graph, **self._options,
                                 optimizer=optimizer(recipe, all_epochs=True))
        with learner:
            if not path.exists() or learner.state.run is not None:
                learner.fit(*self._train, epochs=recipe.epochs + recipe.float_epochs,
                            progress=False, resume=path.exists(), checkpoint=path,
                            checkpoint_every=SAVE_STEPS)
            if learner.history.interrupted:
                raise KeyboardInterrupt
            return {"golden": [_percent([learner.evaluate(*self._test).accuracy])]}


def _percent(values: Sequence[float]) -> list[float]:
    return [round(100 * value, 2) for value in values]


def stored(campaign: Campaign, folder: Path = RESULTS) -> dict[str, Any]:
    """Return the stored runs by name; none if they were of another campaign."""
    path = folder / "block_training.json"
    if not path.exists():
        return {}
    data = json.loads(path.read_text(encoding="utf-8"))
    found: dict[str, Any] = data["runs"] if data["campaign"] == _plain(campaign) else {}
    return found


def keep(campaign: Campaign, name: str, run: dict[str, Any], folder: Path = RESULTS) -> None:
    """Store a run."""
    runs = {**stored(campaign, folder), name: run}
    folder.mkdir(exist_ok=True)
    text = json.dumps({"campaign": _plain(campaign), "runs": dict(sorted(runs.items()))}, indent=1)
    write_atomic(folder / "block_training.json", (text + "\n").encode())


def _plain(campaign: Campaign) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(campaign)))
    return plain


def run_all(campaign: Campaign, data: Path, seeds: int, minutes: float, folder: Path = RESULTS,
            work: Path = WORK) -> None:
    """Run what is not stored yet, the runs of a seed one after the other."""
    end = time.monotonic() + 60 * minutes
    for seed in range(seeds):
        for kind in (WHOLE, BLOCKS, *([FIRST] if seed == 0 else [])):
            name = f"{kind} {seed}"
            if name in stored(campaign, folder) or time.monotonic() > end:
                continue
            run = Trial(campaign, kind, seed, data, work).run()
            keep(campaign, name, run, folder)
            print(f"{name}: {json.dumps(run)}", flush=True)


def table(campaign: Campaign, runs: dict[str, Any], batch: int = 8) -> str:
    """Return what the blocks cost, what the runs have reached, and the bars, as text."""
    whole, blocks = campaign.blocks(WHOLE), campaign.blocks(BLOCKS)
    lines: list[str] = []
    cycles: list[int] = []
    for block in (*whole, *blocks):
        learner = pt.Learner(block.graph, batch=batch)
        cycles.append(learner.predicted_step().cycles)
        lines.append(f"{'whole' if not lines else f'block {block.number}':8} head "
                     f"{block.head or '(none)':7} {block.head_parameters:7,} parameters, block "
                     f"{block.parameters:7,}, step {cycles[-1]:9,} cycles "
                     f"({100 * cycles[-1] / cycles[0]:.1f} %), arena "
                     f"{learner.plan.memory.nbytes:,} bytes")
    share = cycles[1] / cycles[0]
    lines.append(f"step of the first block at batch {batch}: {100 * share:.1f} % of the whole's, "
                 f"{_verdict(share <= CYCLES_AT_MOST, f'{100 * CYCLES_AT_MOST:.0f} %')}")
    pairs = [(runs[f"{WHOLE} {seed}"], runs[f"{BLOCKS} {seed}"]) for seed in range(SEEDS)
             if f"{WHOLE} {seed}" in runs and f"{BLOCKS} {seed}" in runs]
    for one, other in pairs:
        lines.append(f"float32 {one['float32']} and {other['float32']}, on golden "
                     f"{one['golden'][-1]} and {other['golden'][-1]} %; exits {other['exits']} %")
    if pairs:
        for what, at, bar in (("last", -1, LOSS_AT_MOST), ("first", 0, FIRST_AT_MOST)):
            below = np.array([one["golden"][-1][0] - other["golden"][-1][at]
                              for one, other in pairs])
            lines.append(f"{what} block below the whole: {below.mean():.2f} points, "
                         f"{below.min():.2f} to {below.max():.2f} over {len(below)} seeds, "
                         f"{_verdict(below.mean() <= bar, f'{bar} points')}")
    if f"{FIRST} 0" in runs:
        lines.append(f"first block wholly on golden: {runs[f'{FIRST} 0']['golden'][-1][0]} %")
    return "\n".join(lines)


def _verdict(holds: bool, bar: str) -> str:
    return f"bar {bar}: {'holds' if holds else 'does not hold'}"


def main(arguments: list[str] | None = None) -> int:
    """Run what is missing and print the table; 130 after Ctrl-C, 1 after an error, else 0."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.block_training",
                                description=(__doc__ or "").splitlines()[0])
    p.add_argument("--data", type=Path, help="folder of the data sets; without: no new runs")
    p.add_argument("--seeds", type=int, default=SEEDS)
    p.add_argument("--minutes", type=float, default=float("inf"),
                   help="begin no new run after this time (default: %(default)s)")
    options = p.parse_args(arguments)
    try:
        if options.data is not None:
            run_all(DOODLES, options.data, options.seeds, options.minutes)
    except KeyboardInterrupt:
        return 130
    except PynqTrainError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(table(DOODLES, stored(DOODLES)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
