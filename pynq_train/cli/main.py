"""Entry point: parses the command line and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from tqdm import tqdm

import pynq_train as pt
from pynq_train.backends.names import backend_names
from pynq_train.bench import DEFAULT_LATENCY
from pynq_train.cli import adapting, commands, cutting, demo, figures, overlay
from pynq_train.cli import finetune as tuning
from pynq_train.cli import fleet as fleets
from pynq_train.cli import replay as replaying
from pynq_train.cli import select as selecting
from pynq_train.cli import split as splitting
from pynq_train.cli.doctor import doctor
from pynq_train.cli.versus import ENGINES
from pynq_train.doctor import DEFAULT_NET
from pynq_train.eftrain.chips import DATA_TYPES
from pynq_train.errors import BadInput, PynqTrainError
from pynq_train.hw.boards import BOARDS
from pynq_train.layers import layer_lists
from pynq_train.overlays import this_machine
from pynq_train.quant.loss import LOSSES
from pynq_train.rungs import RUNGS
from pynq_train.schedule.specs.trainable import KEYWORDS
from pynq_train.train.optimizer import DEFAULT_SCHEDULE, DEFAULT_WARMUP

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class _Formatter(argparse.HelpFormatter):
    """Adds the default to the help of an option that has one and does not say it itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        silent = action.default is None or isinstance(action.default, bool)
        if text is None or silent or action.default == argparse.SUPPRESS or "default:" in text:
            return text
        return f"{text} (default: %(default)s)"


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one sentence, like every other error."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **options})

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; see '{self.prog} --help'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say
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


def _say(message: Warning | str, category: type[Warning], filename: str, lineno: int,
         file: TextIO | None = None, line: str | None = None) -> None:
    """Show a warning as a sentence, above the progress bar: no line of a program led to it."""
    tqdm.write(f"pynq-train: warning: {message}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = _Parser(prog="pynq-train", description="Train small CNNs in the FPGA of a PYNQ board.")
    top.add_argument("--version", action="version", version=f"pynq-train {pt.__version__}")
    commands_ = top.add_subparsers(title="commands", metavar="COMMAND", required=True,
                                   parser_class=_Parser)
    _demo(commands_)
    _train(commands_)
    _finetune(commands_)
    _adapt(commands_)
    _evaluate(commands_)
    _plan(commands_)
    _bench(commands_)
    _split(commands_)
    _select(commands_)
    _verify(commands_)
    _replay(commands_)
    _compile(commands_)
    _doctor(commands_)
    _hwh(commands_)
    _member(commands_)
    _fleet(commands_)
    return top


def _demo(to: Any) -> None:
    p = to.add_parser("demo", help="train on handwritten digits, every pass on the RTL")
    _board(p, "virtual:pynq-z2")
    _epochs(p, demo.EPOCHS)
    _batch(p, demo.BATCH)
    p.add_argument("--lr", type=_number, default=demo.LR, metavar="RATE",
                   help=f"learning rate at its peak: it rises over {DEFAULT_WARMUP} steps, then "
                   "falls to 0 in a straight line")
    _seed(p)
    p.add_argument("--out", type=Path, default=Path("build/demo"), metavar="FOLDER",
                   help="where picture, model and result.json go")
    p.set_defaults(run=demo.run)


def _train(to: Any) -> None:
    p = to.add_parser("train", help="train a network on an .npz file")
    p.add_argument("--model", required=True, metavar="NET",
                   help="a network of the zoo ({}), a saved model, or an ONNX file".format(
                       ", ".join(pt.zoo.names())))
    _data(p)
    _images(p)
    _board(p, "golden")
    _epochs(p, 5)
    _batch(p, None, f"{commands.DEFAULT_BATCH}, or as saved")
    p.add_argument("--classes", type=_count, metavar="N",
                   help="classes of a zoo network (default: largest label + 1)")
    _optimizer(p, None)
    _seed(p)
    _trainable(p, "all, or as saved")
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where the model goes (default: the saved model, or NET.safetensors)")
    _training(p)
    p.set_defaults(run=commands.train)


def _finetune(to: Any) -> None:
    p = to.add_parser("finetune", help="adapt a saved model to new data, in part or as a whole")
    p.add_argument("--model", required=True, metavar="FILE", help="a saved model, or an ONNX file")
    _data(p)
    _images(p)
    _board(p, "golden")
    _trainable(p, tuning.TRAINABLE)
    p.set_defaults(trainable=tuning.TRAINABLE)
    _epochs(p, tuning.EPOCHS)
    _batch(p, tuning.BATCH)
    _optimizer(p, pt.SGD(lr=tuning.LR, schedule="cosine", warmup_steps=tuning.WARMUP))
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where the adapted model goes (default: MODEL-tuned.safetensors)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    _training(p)
    p.set_defaults(run=tuning.finetune)


def _adapt(to: Any) -> None:
    p = to.add_parser("adapt", help="adapt a saved model within a budget of memory and time")
    p.add_argument("--model", required=True, metavar="FILE", help="a saved model, or an ONNX file")
    _data(p)
    _images(p)
    p.add_argument("--memory", metavar="BYTES",
                   help="device memory that may be used: a number, or such as 2MB or 512KiB "
                   "(default: all that the board has)")
    p.add_argument("--seconds", type=_number, metavar="S",
                   help="what the adaptation may take on the board, engine and processor (default: "
                   "any time)")
    _board(p, "golden")
    _epochs(p, adapting.EPOCHS)
    _batch(p, None, f"up to {adapting.BATCH}, fewer where memory is short")
    p.add_argument("--lr", type=_number, metavar="RATE",
                   help="learning rate of all rungs (default: each has one of its own)")
    p.add_argument("--rungs", metavar="NAMES",
                   help=f"rungs that are tried, with commas between (default: "
                   f"{', '.join(adapting.LADDER)})")
    _seed(p, "names adapters, orders and what is held out")
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where the adapted model goes (default: MODEL-adapted.safetensors)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write all rungs as JSON")
    p.add_argument("--no-progress", action="store_true", help="no progress bar")
    p.set_defaults(run=adapting.adapt)


def _training(p: argparse.ArgumentParser) -> None:
    p.add_argument("--nesterov", action="store_true", help="Nesterov momentum")
    p.add_argument("--loss", choices=LOSSES,
                   help=f"what is minimised (default: {LOSSES[0]}, or as saved)")
    p.add_argument("--label-smoothing", type=_number, metavar="S",
                   help="part of the target that all classes share (default: 0, or as saved)")
    p.add_argument("--class-weights", type=_number, nargs="+", metavar="W",
                   help="factor of each class's cross-entropy (default: 1, or as saved)")
    p.add_argument("--ignore-index", type=int, metavar="N",
                   help="target that does not count (default: all do, or as saved)")
    p.add_argument("--huber-delta", type=_number, metavar="D",
                   help="difference beyond which --loss huber is linear (default: 1, or as saved)")
    p.add_argument("--accumulate", type=_count, metavar="N",
                   help="mini-batches whose mean gradient makes one update (default: 1, or as "
                   "saved)")
    p.add_argument("--cache", nargs="?", const=True, default=False, metavar="FILE",
                   help="compute what frozen layers make of each image once and begin all steps "
                   "with it; it is kept in memory, or in FILE")
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
    _images(p)
    _board(p, "golden")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=commands.evaluate)


def _plan(to: Any) -> None:
    p = to.add_parser("plan", help="layers, tiles, memory and predicted cycles on a board")
    _net(p)
    _board(p, "pynq-z2")
    _batch(p, None, "32; layer lists: as bench")
    _trainable(p, "all")
    p.add_argument("--cache", action="store_true", help="plan a training step from a cache of what "
                   "frozen layers make of each image, too")
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
                   help=f"board whose RTL is simulated, one of {', '.join(sorted(BOARDS))}")
    _batch(p, None, ", ".join(f"{net} {batch}" for net, batch in figures.BENCH_BATCH.items())
           + ", else 1")
    p.add_argument("--by-pass", action="store_true",
                   help="run every pass of a layer list by itself, not in one program")
    p.add_argument("--layers", metavar="LIST", help="run these layers only, each pass by itself "
                   "(names with commas between)")
    p.add_argument("--latency", type=_count, default=DEFAULT_LATENCY, metavar="CYCLES",
                   help="read latency of the memory")
    p.add_argument("--momentum", type=_number,
                   help="momentum of the update; 0 keeps none in memory (default: 0.9; beside "
                   "EF-Train, which has none, 0)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=figures.bench)


def _split(to: Any) -> None:
    p = to.add_parser("split", help="cut a network into segments for several boards: what each "
                      "split costs, which is best")
    splitting.add_options(p, _count, _number, ", ".join(pt.zoo.names()))


def _select(to: Any) -> None:
    p = to.add_parser("select", help="choose models and rungs of adaptation by what users think "
                      "of them")
    actions = p.add_subparsers(title="actions", metavar="ACTION", required=True,
                               parser_class=_Parser)
    q = actions.add_parser("simulate", help="let simulated devices choose: regret of LinUCB, "
                           "UCB1 and epsilon-greedy")
    selecting.add_simulate_options(q, _count, _number)


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
                   help="a network of the zoo, a saved model, or 'random': "
                   "chains, normalised series, branches and concatenations")
    _batch(p, None, f"{commands.VERIFY_BATCH}; random: drawn")
    p.add_argument("--steps", type=_count, default=2, metavar="N", help="training steps")
    _board(p, "virtual:pynq-z2")
    _seed(p, "names data and weights, or the random network")
    p.add_argument("--seeds", type=_count, default=1, metavar="N",
                   help="seeds to run, from --seed up")
    _trainable(p, "all; random: drawn, often all")
    p.add_argument("--cut", metavar="EDGES", help="compare the network, cut after these "
                   "operations (names with commas between, or 'random') with the whole on golden; "
                   "--board then runs one segment, the others golden, or names with commas "
                   "between are one for each segment")
    p.add_argument("--stalls", type=_number, default=0.0, metavar="P",
                   help="probability of random memory stalls (virtual boards)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    p.set_defaults(run=cutting.verify)


def _compile(to: Any) -> None:
    p = to.add_parser("compile", help="put plan and programs into a saved model, so that a board "
                      "starts without planning")
    p.add_argument("model", metavar="MODEL",
                   help="a saved model, a network of the zoo ({}), or an ONNX file".format(
                       ", ".join(pt.zoo.names())))
    _board(p, "pynq-z2")
    _batch(p, None, f"that of the model, else {commands.DEFAULT_BATCH}")
    p.add_argument("--out", type=Path, metavar="FILE",
                   help="where it goes (default: the saved model itself, else NET.safetensors)")
    p.set_defaults(run=commands.compile_model)


def _doctor(to: Any) -> None:
    p = to.add_parser("doctor", help="is this machine fit to train? what to do if not")
    p.add_argument("--board", default=this_machine(), metavar="BOARD",
                   help=f"one of {', '.join(backend_names())} (default: that of this machine, "
                   f"here {this_machine()})")
    p.add_argument("--net", default=DEFAULT_NET, metavar="NET", help="network whose memory is "
                   "reckoned and of which a step is compared")
    _batch(p, 32)
    p.set_defaults(run=doctor)


def _hwh(to: Any) -> None:
    p = to.add_parser("hwh", help="compare a .hwh file of Vivado with the hardware contract")
    p.add_argument("file", type=Path, metavar="FILE", help="a .hwh file")
    p.add_argument("--board", default="pynq-z2", choices=sorted(BOARDS), metavar="BOARD",
                   help=f"one of {', '.join(sorted(BOARDS))}")
    p.set_defaults(run=overlay.hwh)


def _member(to: Any) -> None:
    p = to.add_parser("member", help="make this machine's board a member of a fleet")
    p.add_argument("--board", default=this_machine(), metavar="BOARD",
                   help=f"one of {', '.join(backend_names())} (default: that of this machine, "
                   f"here {this_machine()})")
    p.add_argument("--name", required=True, metavar="NAME", help="as in its certificate")
    p.add_argument("--listen", default=fleets.LISTEN, metavar="HOST:PORT",
                   help="where coordinators find it")
    _links(p)
    p.add_argument("--unit", action="store_true",
                   help="print a systemd unit that starts this command, and do nothing else")
    p.set_defaults(run=fleets.member)


def _fleet(to: Any) -> None:
    p = to.add_parser("fleet", help="members of a fleet: how they are, certificates, links")
    actions = p.add_subparsers(title="actions", metavar="ACTION", required=True,
                               parser_class=_Parser)
    q = actions.add_parser("status", help="show members: board, version, what they do")
    _members(q)
    q.add_argument("--json", type=Path, metavar="FILE", help="write what they say as JSON")
    q.set_defaults(run=fleets.status)
    q = actions.add_parser("keys", help="make certificates: of the fleet, of its members, and of "
                           "the machine that commands them")
    q.add_argument("folder", type=Path, metavar="FOLDER", help="where they go; the authority stays")
    q.add_argument("names", nargs="*", metavar="NAME", help="names of members")
    q.add_argument("--coordinator", default=fleets.COORDINATOR, metavar="NAME",
                   help="name of who commands; made if it has no certificate yet")
    q.set_defaults(run=fleets.keys)
    q = actions.add_parser("bench", help="measure latency and bandwidth of the links to members")
    _members(q)
    q.add_argument("--rounds", type=_count, default=20, metavar="N", help="messages of each size")
    q.add_argument("--kbytes", type=_count, default=1024, metavar="N",
                   help="size of the large messages in KB")
    q.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    q.set_defaults(run=fleets.bench)


def _members(p: argparse.ArgumentParser) -> None:
    """Add the members that a coordinator calls, and how."""
    p.add_argument("members", nargs="+", metavar="NAME=HOST:PORT", help="members of the fleet")
    p.add_argument("--name", default=fleets.COORDINATOR, metavar="NAME",
                   help="whose certificate this machine has")
    p.add_argument("--seconds", type=_number, default=5.0, metavar="S",
                   help="after which a member that does not answer is given up")
    _links(p)


def _links(p: argparse.ArgumentParser) -> None:
    p.add_argument("--keys", type=Path, required=True, metavar="FOLDER",
                   help="folder with the certificates, see 'pynq-train fleet keys'")
    p.add_argument("--transport", choices=fleets.TRANSPORTS, default=fleets.TRANSPORTS[0],
                   help="tls needs nothing else, zenoh the package eclipse-zenoh; the same for all")


def _board(p: argparse.ArgumentParser, default: str) -> None:
    also = ", hls-csim (the EF-Train kernel)" if default == "golden" else ""
    p.add_argument("--board", default=default, metavar="BOARD",
                   help=f"one of {', '.join(backend_names())}{also}")


def _trainable(p: argparse.ArgumentParser, default: str) -> None:
    p.add_argument("--trainable", metavar="WHAT",
                   help=f"what is trained: {', '.join((*KEYWORDS, *RUNGS))}, or names and patterns "
                   f"of layers and parameters with commas between (default: {default})")


def _epochs(p: argparse.ArgumentParser, default: int) -> None:
    p.add_argument("--epochs", type=_count, default=default, metavar="N",
                   help="passes over the training images")


def _batch(p: argparse.ArgumentParser, default: int | None, otherwise: str = "") -> None:
    """Add ``--batch``; ``otherwise`` says what counts where there is no one default."""
    more = f" (default: {otherwise})" if otherwise else ""
    p.add_argument("--batch", type=_count, default=default, metavar="N",
                   help=f"images of a mini-batch{more}")


def _seed(p: argparse.ArgumentParser,
          what: str = "names the initial weights and the order of the images") -> None:
    p.add_argument("--seed", type=int, default=0, metavar="N", help=what)


def _optimizer(p: argparse.ArgumentParser, default: pt.SGD | None) -> None:
    """Add the options of SGD; without a default they are those of a new learner, or as saved."""
    shown = pt.SGD() if default is None else default
    saved = ", or as saved" if default is None else ""
    for name, kind, text in (("lr", "RATE", "learning rate at its peak"),
                             ("momentum", "FACTOR", "momentum, 0 to below 1"),
                             ("weight_decay", "FACTOR", "L2 factor of weights, not of biases")):
        value = getattr(shown, name)
        p.add_argument(f"--{name.replace('_', '-')}", type=_number, metavar=kind,
                       default=None if default is None else value,
                       help=f"{text} (default: {value}{saved})")
    p.add_argument("--schedule", choices=tuple(pt.schedules.NAMED),
                   default=None if default is None else default.schedule,
                   help="what the learning rate does: linear and cosine fall to 0 over the "
                   "training, step falls to a tenth at half and at three quarters of it, constant "
                   f"stays (default: {shown.schedule or DEFAULT_SCHEDULE}{saved})")
    warmup = DEFAULT_WARMUP if shown.warmup_steps is None else shown.warmup_steps
    p.add_argument("--warmup-steps", type=_count_from_0, metavar="STEPS",
                   help="steps over which the rate rises to its peak first, a quarter of the "
                   f"training at most (default: {warmup}{saved}; constant: 0)")


def _data(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", required=True, metavar="FILE",
                   help="an .npz file with x and y, or x_train, y_train, x_test, y_test; a folder "
                   "of .npy files of these names (they may be larger than memory); "
                   "or 'digits' for scikit-learn's handwritten digits. Labels are integers or "
                   "names of classes; an array 'classes' names numbered ones")
    p.add_argument("--class-names", metavar="NAMES", help="names of all classes with commas "
                   "between, in the order of the network's outputs (default: as saved, or as the "
                   "data have them)")


def _images(p: argparse.ArgumentParser) -> None:
    """Add what the images of a model are; see docs/images.md."""
    p.add_argument("--input-range", type=_number, nargs=2, metavar=("LOW", "HIGH"),
                   help="lowest and highest value of the images that the model takes, such as 0 "
                   "255; uint8 images are spread over it (default: as saved or in the ONNX file, "
                   "else 0..1 for uint8 images)")
    for name, what in (("mean", "is taken from the images"), ("std", "divides them then")):
        p.add_argument(f"--{name}", type=_number, nargs="+", metavar="V",
                       help=f"what {what}: a number, or one for each channel, in the units of the "
                       "range (default: as saved or in the ONNX file)")


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of 1 or more, found {text!r}")
    return value


def _count_from_0(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None
