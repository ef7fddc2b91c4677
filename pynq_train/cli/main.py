"""Entry point: parses the command line and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pynq_train as pt
from pynq_train.backends.names import backend_names
from pynq_train.bench import DEFAULT_LATENCY
from pynq_train.cli import commands, demo, figures, overlay
from pynq_train.cli import finetune as tuning
from pynq_train.cli import replay as replaying
from pynq_train.cli.doctor import doctor
from pynq_train.cli.versus import ENGINES
from pynq_train.doctor import DEFAULT_NET
from pynq_train.eftrain.chips import DATA_TYPES
from pynq_train.errors import BadInput, PynqTrainError
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import layer_lists
from pynq_train.overlays import this_machine
from pynq_train.quant.loss import LOSSES

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one sentence, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see '{self.prog} --help'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    try:
        options = parser().parse_args(arguments)
        code: int = options.run(options)
        return code
    except PynqTrainError as error:
        print(f"pynq-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("pynq-train: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = _Parser(prog="pynq-train", description="Train small CNNs in the FPGA of a PYNQ board.")
    top.add_argument("--version", action="version", version=f"pynq-train {pt.__version__}")
    commands_ = top.add_subparsers(title="commands", metavar="COMMAND", required=True,
                                   parser_class=_Parser)
    _demo(commands_)
    _train(commands_)
    _finetune(commands_)
    _evaluate(commands_)
    _plan(commands_)
    _bench(commands_)
    _verify(commands_)
    _replay(commands_)
    _doctor(commands_)
    _hwh(commands_)
    return top


def _demo(to: Any) -> None:
    p = to.add_parser("demo", help="train on handwritten digits, every pass on the RTL")
    _board(p, "virtual:pynq-z2")
    p.add_argument("--epochs", type=_count, default=demo.EPOCHS)
    p.add_argument("--batch", type=_count, default=demo.BATCH)
    p.add_argument("--lr", type=_number, default=demo.LR)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("build/demo"), metavar="FOLDER",
                   help="where picture, model and result.json go (default: build/demo)")
    p.set_defaults(run=demo.run)


def _train(to: Any) -> None:
    p = to.add_parser("train", help="train a network on an .npz file")
    p.add_argument("--model", required=True, metavar="NET",
                   help="a network of the zoo ({}), a saved model, or an ONNX file".format(
                       ", ".join(pt.zoo.names())))
    _data(p)
    _board(p, "golden")
    p.add_argument("--epochs", type=_count, default=5)
    p.add_argument("--batch", type=_count, help="images of a mini-batch (default: 32, or as saved)")
    p.add_argument("--classes", type=_count,
                   help="classes of a zoo network (default: largest label + 1)")
    p.add_argument("--lr", type=_number, help="learning rate (default: 0.02, or as saved)")
    p.add_argument("--momentum", type=_number)
    p.add_argument("--weight-decay", type=_number)
    p.add_argument("--schedule", choices=tuple(pt.schedules.NAMED))
    p.add_argument("--seed", type=int, default=0, help="initial weights and order of the images")
    _train_option(p, "default: all, or as saved")
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where the model goes (default: the saved model, or NET.safetensors)")
    _training(p)
    p.set_defaults(run=commands.train)


def _finetune(to: Any) -> None:
    p = to.add_parser("finetune", help="adapt a saved model to new data, in part or as a whole")
    p.add_argument("--model", required=True, metavar="FILE", help="a saved model, or an ONNX file")
    _data(p)
    _board(p, "golden")
    _train_option(p, f"default: {tuning.TRAIN}")
    p.set_defaults(train=tuning.TRAIN)
    p.add_argument("--epochs", type=_count, default=tuning.EPOCHS)
    p.add_argument("--batch", type=_count, default=tuning.BATCH, help="images of a mini-batch")
    p.add_argument("--lr", type=_number, default=tuning.LR)
    p.add_argument("--momentum", type=_number, default=0.9)
    p.add_argument("--weight-decay", type=_number, default=0.0)
    p.add_argument("--schedule", choices=tuple(pt.schedules.NAMED), default="cosine")
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where the adapted model goes (default: MODEL-tuned.safetensors)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    _training(p)
    p.set_defaults(run=tuning.finetune)


def _training(p: argparse.ArgumentParser) -> None:
    p.add_argument("--nesterov", action="store_true", help="Nesterov momentum")
    p.add_argument("--loss", choices=LOSSES, help=f"default: {LOSSES[0]}, or as saved")
    p.add_argument("--label-smoothing", type=_number, metavar="S",
                   help="part of the target that all classes share (default: 0, or as saved)")
    p.add_argument("--accumulate", type=_count, metavar="N",
                   help="mini-batches whose mean gradient makes one update (default: 1, or as "
                   "saved)")
    p.add_argument("--resume", action="store_true",
                   help="go on with an interrupted or killed training")
    p.add_argument("--checkpoint-every", type=_count, metavar="STEPS",
                   help="save the model every STEPS steps (default: every epoch)")
    p.add_argument("--report", type=Path, metavar="FILE", help="write a report (HTML)")
    p.add_argument("--no-progress", action="store_true", help="no progress bar")


def _evaluate(to: Any) -> None:
    p = to.add_parser("evaluate", help="loss and accuracy of a saved model")
    p.add_argument("--model", required=True, metavar="FILE", help="a saved model, or an ONNX file")
    _data(p)
    _board(p, "golden")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=commands.evaluate)


def _plan(to: Any) -> None:
    p = to.add_parser("plan", help="layers, tiles, memory and predicted cycles on a board")
    _net(p)
    _board(p, "pynq-z2")
    p.add_argument("--batch", type=_count, help="mini-batch (default: 32; layer lists: as bench)")
    _train_option(p, "default: all")
    p.add_argument("--json", type=Path, nargs="?", const=figures.STDOUT, metavar="FILE",
                   help="write the plan as JSON; without FILE print it")
    p.add_argument("--roofline", type=Path, metavar="FILE",
                   help="draw all layers and passes under the limits of array and memory (PNG)")
    p.add_argument("--measured", type=Path, metavar="FILE",
                   help="take the picture's points from a JSON file of 'bench'")
    p.set_defaults(run=figures.plan)


def _bench(to: Any) -> None:
    p = to.add_parser("bench", help="count the cycles of a training step on the RTL, or compare "
                      "with EF-Train")
    _net(p)
    p.add_argument("--engine", choices=ENGINES, default=ENGINES[0],
                   help="ef-train: predict EF-Train beside ours, nothing is simulated")
    p.add_argument("--type", choices=sorted(DATA_TYPES), help="EF-Train's numbers (default: fp32)")
    p.add_argument("--picture", type=Path, metavar="FILE",
                   help="draw both engines layer by layer (PNG, --engine ef-train)")
    p.add_argument("--board", default="pynq-z2", metavar="BOARD",
                   help="board whose RTL is simulated (default: pynq-z2)")
    p.add_argument("--batch", type=_count, help="mini-batch (default: {}, else 1)".format(
        ", ".join(f"{net} {batch}" for net, batch in figures.BENCH_BATCH.items())))
    p.add_argument("--by-pass", action="store_true",
                   help="run every pass of a layer list by itself, not in one program")
    p.add_argument("--layers", metavar="LIST", help="run these layers only, each pass by itself "
                   "(names with commas between)")
    p.add_argument("--latency", type=_count, default=DEFAULT_LATENCY, metavar="CYCLES",
                   help=f"read latency of the memory (default: {DEFAULT_LATENCY})")
    p.add_argument("--momentum", type=_number,
                   help="momentum of the update; 0 keeps none in memory (default: 0.9; beside "
                   "EF-Train, which has none, 0)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=figures.bench)


def _net(p: argparse.ArgumentParser) -> None:
    p.add_argument("net", metavar="NET", help="a network of the zoo ({}), a list of layers ({}), "
                   "a saved model, or an ONNX file".format(", ".join(pt.zoo.names()),
                                             ", ".join(layer_lists.names())))


def _replay(to: Any) -> None:
    p = to.add_parser("replay", help="run a saved failure on golden and on the RTL, name the first "
                      "difference")
    p.add_argument("file", type=Path, metavar="FILE", help="what a failed training step or "
                   "'verify' has saved")
    p.add_argument("--board", metavar="BOARD", help="board to compare with golden (default: the "
                   "virtual board of the failed one)")
    p.add_argument("--waves", type=Path, metavar="FILE",
                   help="write a waveform (VCD) of the descriptor that differs")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=replaying.run)


def _verify(to: Any) -> None:
    p = to.add_parser("verify", help="compare a board with golden, bit for bit")
    p.add_argument("--net", default="digits", metavar="NET",
                   help="a network of the zoo, a saved model, or 'random' (default: digits)")
    p.add_argument("--batch", type=_count, help="mini-batch (default: 4; random: drawn)")
    p.add_argument("--steps", type=_count, default=2, help="training steps (default: 2)")
    _board(p, "virtual:pynq-z2")
    p.add_argument("--seed", type=int, default=0, help="data and weights, or the random network")
    p.add_argument("--seeds", type=_count, default=1, help="seeds to run, from --seed up")
    _train_option(p, "default: all; random: drawn for seeds 50..99 of each hundred")
    p.add_argument("--stalls", type=_number, default=0.0, metavar="P",
                   help="probability of random memory stalls (virtual boards)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=commands.verify)


def _doctor(to: Any) -> None:
    p = to.add_parser("doctor", help="is this machine fit to train? what to do if not")
    p.add_argument("--board", default=this_machine(), metavar="BOARD",
                   help="a board or a virtual one (default: that of this machine, here "
                   f"{this_machine()})")
    p.add_argument("--net", default=DEFAULT_NET, metavar="NET", help="network whose memory is "
                   f"reckoned and of which a step is compared (default: {DEFAULT_NET})")
    p.add_argument("--batch", type=_count, default=32, help="its mini-batch (default: 32)")
    p.set_defaults(run=doctor)


def _hwh(to: Any) -> None:
    p = to.add_parser("hwh", help="compare a .hwh file of Vivado with the hardware contract")
    p.add_argument("file", type=Path, metavar="FILE", help="a .hwh file")
    p.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS), metavar="BOARD",
                   help=f"one of {', '.join(sorted(BOARDS))} (default: pynq-z2)")
    p.set_defaults(run=overlay.hwh)


def _board(p: argparse.ArgumentParser, default: str) -> None:
    also = ", hls-csim (the EF-Train kernel)" if default == "golden" else ""
    p.add_argument("--board", default=default, metavar="BOARD",
                   help=f"one of {', '.join(backend_names())}{also} (default: {default})")


def _train_option(p: argparse.ArgumentParser, default: str) -> None:
    p.add_argument("--train", metavar="WHAT",
                   help="what learns: all, last-layer, last-block, bias, or layer names and "
                   f"patterns with commas between ({default})")


def _data(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", required=True, metavar="FILE",
                   help="an .npz file with x and y, or x_train, y_train, x_test, y_test; "
                   "or 'digits' for scikit-learn's handwritten digits")


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, found {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None


if __name__ == "__main__":
    raise SystemExit(main())
