"""``pynq-train bench --engine ef-train``: EF-Train's predicted figures beside ours."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from pynq_train.bench.roofline import need_matplotlib
from pynq_train.bench.versus import compare
from pynq_train.bench.versus_picture import draw_versus
from pynq_train.cli.commands import network, write_json
from pynq_train.eftrain.chips import data_type
from pynq_train.errors import BadInput
from pynq_train.hw.boards import Board
from pynq_train.layers import layer_lists

EF_TRAIN = "ef-train"
ENGINES = ("pynq-train", EF_TRAIN)


def check_engine_options(options: argparse.Namespace) -> None:
    """Refuse options that belong to the other engine.

    Raises:
        BadInput: one is given.
    """
    ef = options.engine == EF_TRAIN
    for name, given, wanted in (("--layers", options.layers, False),
                                ("--by-pass", options.by_pass, False),
                                ("--picture", options.picture, True),
                                ("--type", options.type, True)):
        if given and ef != wanted:
            raise BadInput(f"{name} is not for --engine {options.engine}",
                           fix="add --engine ef-train" if wanted else f"leave {name} out")


def versus(options: argparse.Namespace, board: Board, batch: int, momentum: float) -> int:
    """Print the comparison; write JSON and picture."""
    if options.picture:
        need_matplotlib()
        if not options.picture.parent.is_dir():
            raise BadInput(f"folder {str(options.picture.parent)!r} does not exist",
                           fix="create it, or choose another --picture")
    listed = options.net in layer_lists.names()
    what = layer_lists.get(options.net) if listed else network(options.net)
    with tqdm(total=None, unit="pass", desc="bench", delay=0.5, dynamic_ncols=True) as bar:
        def show(name: str) -> None:
            bar.set_postfix_str(name)
            bar.update()

        found = compare(options.net, what, batch, board, momentum=momentum,
                        dtype=data_type(options.type or "fp32"), latency=options.latency,
                        progress=show)
    print(found.table())
    if options.json:
        write_json(options.json, found.to_dict())
        print(f"written to {options.json}")
    if options.picture:
        draw_versus(options.picture, found)
        print(f"drawn to {options.picture}")
    return 0
