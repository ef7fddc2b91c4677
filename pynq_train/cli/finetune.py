"""The command finetune: a trained network adapts to new data, in part or as a whole."""

from __future__ import annotations

import argparse
from typing import Any

import pynq_train as pt
from pynq_train.adaptation import Course, course_of
from pynq_train.cli.commands import (
    INTERRUPTED,
    calibrate,
    image_options,
    is_onnx,
    named,
    number,
    parse_trainable,
    print_epoch,
    saved_and_data,
    training_options,
    write_json,
)

TRAINABLE, EPOCHS, BATCH, LR, WARMUP = "last-block", 30, 10, 0.02, 5


def finetune(options: argparse.Namespace) -> int:
    """Run ``pynq-train finetune``: evaluate, train what is chosen, evaluate again, save."""
    data, out = saved_and_data(options, "tuned")
    with _learner(options) as learner:
        data = named(data, learner, options)
        if options.cache:
            learner.plan_cache(options.cache)
        checked = data.train if data.test is None or data.test.y is None else data.test
        print(f"{learner.graph.name} on {options.board}: {len(data.train)} images, mini-batch "
              f"{learner.batch}, {options.epochs} epochs")
        run = learner.state.run
        began = learner.steps - (run.step if options.resume and run is not None else 0)
        if not options.resume:
            calibrate(learner, data)
        before = None if options.resume else learner.evaluate(checked.x, checked.y)
        history = learner.fit(data.train.x, data.train.y, epochs=options.epochs,
                              progress=not options.no_progress, resume=options.resume,
                              callbacks=[print_epoch], checkpoint=out,
                              checkpoint_every=options.checkpoint_every, cache=options.cache)
        after = learner.evaluate(checked.x, checked.y)
        if options.report:
            learner.report(options.report)
        result = _result(learner, before, after, len(checked), checked is data.train,
                         course_of(learner.plan, len(data.train), learner.steps - began))
    _print(result, learner)
    if after.class_names:
        print(after.text())
    print(f"saved {out} after {learner.steps} steps")
    if options.json:
        write_json(options.json, result)
    if history.interrupted:
        print(f"interrupted: go on with 'pynq-train finetune --model {out} --out {out} "
              f"--data {options.data} --resume'")
        return INTERRUPTED
    return 0


def _learner(options: argparse.Namespace) -> pt.Learner:
    given = image_options(options)
    if options.resume:
        return pt.Learner.load(options.model, board=options.board, **given)
    warmup = options.warmup_steps
    if warmup is None and options.schedule != "constant":
        warmup = WARMUP
    optimizer = pt.SGD(lr=options.lr, momentum=options.momentum, schedule=options.schedule,
                       weight_decay=options.weight_decay, warmup_steps=warmup,
                       nesterov=options.nesterov)
    trainable = parse_trainable(options.trainable)
    more = {**training_options(options), **given}
    if is_onnx(options.model):
        return pt.Learner(pt.from_onnx(options.model), board=options.board, optimizer=optimizer,
                          batch=options.batch, trainable=trainable, **more)
    return pt.Learner.load(options.model, board=options.board, batch=options.batch,
                           optimizer=optimizer, trainable=trainable, **more)


def _result(learner: pt.Learner, before: pt.Evaluation | None, after: pt.Evaluation, images: int,
            own: bool, course: Course) -> dict[str, Any]:
    return {
        "images": images, "evaluated": "training images" if own else "test images",
        "accuracy_before": None if before is None else number(before.accuracy),
        "accuracy_after": number(after.accuracy), **after.figures,
        "loss_before": None if before is None else before.loss, "loss_after": after.loss,
        "trainable": learner.trainable, "steps": course.steps,
        "cycles_per_step": course.step_cycles,
        "engine_seconds": course.engine, "board_seconds": course.seconds,
        "clock_mhz": learner.plan.board.clock_mhz, "arena_bytes": learner.plan.memory.nbytes,
        "cache_bytes": course.cache_bytes, "cache_evaluations": course.fills,
        "cycles_per_evaluation": course.fill_cycles}


def _print(result: dict[str, Any], learner: pt.Learner) -> None:
    what, unit, times = (("loss", "", 1) if result["accuracy_after"] is None
                         else ("accuracy", " %", 100))
    before, after = (result[f"{what}_{when}"] for when in ("before", "after"))
    digits = 2 if unit else 4
    cache = "" if not result["cache_bytes"] else (
        f" behind {result['cache_evaluations']} evaluations of {result['cycles_per_evaluation']} "
        f"that fill a cache of {result['cache_bytes']} bytes")
    began = "" if before is None else f"{times * before:.{digits}f}{unit} before, "
    print(f"{what} on {result['images']} {result['evaluated']}: {began}"
          f"{times * after:.{digits}f}{unit} after\n"
          f"{result['steps']} steps of {result['cycles_per_step']} predicted cycles{cache}: "
          f"{result['engine_seconds']:.3f} s of the engine at {result['clock_mhz']:.0f} MHz, about "
          f"{result['board_seconds']:.3f} s on {learner.plan.board.name} with the processor "
          f"(estimated), {result['arena_bytes']} bytes of memory")
