"""The command select: simulated devices that choose models and rungs of adaptation."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from pynq_train.cli.commands import network, write_json
from pynq_train.cli.figures import engine_board
from pynq_train.errors import BadInput
from pynq_train.hw.boards import BOARDS
from pynq_train.schedule.specs.trainable import KEYWORDS
from pynq_train.select.arms import BATCH, RUNGS, distinct, make_arms
from pynq_train.select.picture import draw_simulation, need_matplotlib
from pynq_train.select.simulation import Result, check_figures
from pynq_train.select.simulation import simulate as simulate_devices
from pynq_train.select.world import MISFIT, NOISE

MODELS = "digits,lenet5"
ON = "pynq-z2,kv260"


def add_simulate_options(p: argparse.ArgumentParser, count: Callable[[str], int],
                         number: Callable[[str], float]) -> None:
    """Add the options of ``select simulate``.

    Args:
        p: its parser.
        count: reads an integer of 1 or more.
        number: reads a number.
    """
    p.add_argument("--devices", type=count, default=100, metavar="N", help="simulated devices")
    p.add_argument("--rounds", type=count, default=10_000, metavar="N",
                   help="choices of each device")
    p.add_argument("--seeds", type=count, default=1, metavar="N",
                   help="worlds, each with other users, from --seed up")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="names the first world")
    p.add_argument("--models", default=MODELS, metavar="NETS",
                   help="networks to choose from, with commas between")
    p.add_argument("--rungs", metavar="RUNGS", help="how much of them may adapt, with commas "
                   f"between: {', '.join(KEYWORDS)} (default: {', '.join(RUNGS)})")
    p.add_argument("--boards", default=ON, metavar="BOARDS", help="boards that devices have, with "
                   f"commas between: {', '.join(sorted(BOARDS))}")
    p.add_argument("--batch", type=count, default=BATCH, metavar="N",
                   help="images of a mini-batch")
    p.add_argument("--misfit", type=number, default=MISFIT, metavar="QOE",
                   help="height of the part of a user's QoE that is not linear in the features")
    p.add_argument("--noise", type=number, default=NOISE, metavar="QOE",
                   help="scatter of the QoE that users report")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.add_argument("--picture", type=Path, metavar="FILE",
                   help="draw regret, and the share of the oracle's QoE (PNG)")
    p.set_defaults(run=simulate)


def simulate(options: argparse.Namespace) -> int:
    """Run ``pynq-train select simulate``: print the table; return the exit code."""
    for name, path in (("--json", options.json), ("--picture", options.picture)):
        if path and not path.parent.is_dir():
            raise BadInput(f"folder {str(path.parent)!r} does not exist",
                           fix=f"create it, or choose another {name}")
    if options.picture:
        need_matplotlib()
    result = _result(options)
    print(result.text())
    if options.picture:
        draw_simulation(options.picture, result)
        print(f"drawn to {options.picture}")
    if options.json:
        write_json(options.json, result.to_dict())
        print(f"written to {options.json}")
    return 0


def _result(options: argparse.Namespace) -> Result:
    """Plan the arms and simulate, with a bar where that takes long."""
    models, boards = (distinct(f"--{name}", _names(getattr(options, name)))
                      for name in ("models", "boards"))
    rungs = RUNGS if options.rungs is None else distinct("--rungs", _names(options.rungs))
    graphs = {name: network(name) for name in models}
    for board in boards:
        engine_board(board)
    # What is wrong with the figures is said before anything is planned, which takes seconds.
    check_figures(options.devices, options.rounds, options.seeds, options.seed, options.misfit,
                  options.noise)
    with tqdm(total=len(models) * len(rungs) * len(boards), unit="plan", desc="planning",
              delay=0.5, leave=False, dynamic_ncols=True) as bar:
        def show(name: str) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update()

        arms = make_arms(graphs, boards, rungs, batch=options.batch, progress=show)
    with tqdm(total=options.rounds * options.seeds, unit="round", desc="simulating", delay=0.5,
              leave=False, dynamic_ncols=True) as bar:
        return simulate_devices(
            arms, devices=options.devices, rounds=options.rounds, seeds=options.seeds,
            seed=options.seed, misfit=options.misfit, noise=options.noise, progress=bar.update)


def _names(text: str) -> list[str]:
    """Return names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]
