"""The command replay: a saved failure on golden and on the RTL."""

from __future__ import annotations

import argparse

from tqdm import tqdm

from pynq_train.check.replay import record, replay
from pynq_train.cli.commands import write_json
from pynq_train.errors import Mismatch
from pynq_train.run.failure import load


def run(options: argparse.Namespace) -> int:
    """Run ``pynq-train replay``: print what was saved, and the first difference."""
    failure = load(options.file)
    count = failure.request.descriptor_count
    print(f"{options.file}: {count} descriptors for {failure.board}, on {failure.backend}: "
          f"{failure.text}", flush=True)
    with tqdm(total=count, unit="descriptor", desc="replay", dynamic_ncols=True) as bar:
        found = replay(failure, options.board, bar.update)
    if options.waves:
        record(failure, found, options.waves)
        print(f"waveform: {options.waves}")
    if options.json:
        write_json(options.json, found.to_dict())
    if found.reproduced:
        raise Mismatch(found.text())
    print(found.text())
    return 0
