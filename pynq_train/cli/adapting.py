"""The command adapt: a trained network adapts to new data within a budget."""

from __future__ import annotations

import argparse

import pynq_train as pt
from pynq_train.adaptation import (
    BATCH,
    EPOCHS,
    LADDER,
    Budget,
    Settings,
    adapted,
    study,
)
from pynq_train.cli.commands import (
    given_names,
    image_options,
    is_onnx,
    names_of,
    saved_and_data,
    write_json,
)

__all__ = ["BATCH", "EPOCHS", "LADDER", "adapt"]


def adapt(options: argparse.Namespace) -> int:
    """Run ``pynq-train adapt``: compare rungs, adapt on the best one, save."""
    budget = Budget.of(options.memory, options.seconds)
    data, out = saved_and_data(options, "adapted")
    given = image_options(options)
    network = (pt.from_onnx(options.model).with_images(**given) if is_onnx(options.model)
               else pt.Learner.load(options.model, **given))
    optimizer = None if options.lr is None else pt.SGD(lr=options.lr, schedule="cosine")
    names = given_names(data, options)
    if not names and isinstance(network, pt.Learner):
        names = network.class_names
    settings = Settings(options.board, options.epochs, options.batch, optimizer, options.seed,
                        names or None)
    x, y = data.train.x, data.train.y
    found = study(network, x, y, budget, settings, progress=True,
                  rungs=LADDER if options.rungs is None else names_of(options.rungs))
    print(found.text())
    with adapted(network, x, y, found, settings, progress=not options.no_progress) as learner:
        result = found.to_dict()
        if data.test is not None and data.test.y is not None:
            after = learner.evaluate(data.test.x, data.test.y)
            result["accuracy_after"] = after.accuracy
            print(f"accuracy on {len(data.test)} test images: {100 * after.accuracy:.2f} %")
        learner.save(out)
    print(f"saved {out}: {found.taken.name}, {found.taken.steps} steps")
    if options.json:
        write_json(options.json, result)
    return 0
