"""Training of a network block by block: learners, their order, and what comes out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from pynq_train.backends import Backend, open_backend
from pynq_train.backends.names import GOLDEN
from pynq_train.data import batches
from pynq_train.errors import BadInput, UnknownName
from pynq_train.fleet.block_training import order
from pynq_train.fleet.block_training.answers import Exits, evaluations, exits_of, passed
from pynq_train.fleet.block_training.block import Block
from pynq_train.fleet.block_training.learner import BlockLearner
from pynq_train.fleet.block_training.over_members import Opened, over_members
from pynq_train.fleet.block_training.ring import Ring
from pynq_train.fleet.block_training.saved import BlockFiles
from pynq_train.fleet.block_training.table import block_table
from pynq_train.fleet.build import boards_of
from pynq_train.fleet.members import Members
from pynq_train.graph import LayerParams, Model
from pynq_train.run.formats import range_of
from pynq_train.train.arguments import check_pair, flag
from pynq_train.train.history import Evaluation, Tally
from pynq_train.train.loop import Data
from pynq_train.train.optimizer import SGD
from pynq_train.train.schedules import whole

RING = 8
"""Mini-batches that go from block to block together where nothing else is said."""


class TrainedBlocks:
    """Learners of all blocks of a network; use it in a ``with`` statement, or close it.

    Args:
        blocks: the blocks.
        learners: of each.
        shared: the backend that all use in turn; None: each has its own.
        ring: mini-batches that go through a block before the next one is used.
        own: open backends, one for each block, such as those of members; none: learners open
            theirs.

    Attributes:
        blocks: the blocks.
        learners: of each; with one board for all, only one of them is open at a time.
    """

    def __init__(self, blocks: Sequence[Block], learners: Sequence[BlockLearner],
                 shared: Backend | None, ring: int, own: Sequence[Backend] = ()) -> None:
        self.blocks, self.learners = tuple(blocks), tuple(learners)
        self._shared, self._ring = shared, ring
        self._used: int | None = None
        self._closing = ExitStack()
        for backend in own if shared is None else (shared,):
            self._closing.callback(backend.close)
        for at, (block, learner) in enumerate(zip(blocks, learners)):
            learner.belong(block, own[at] if own else shared)

    @property
    def arena_bytes(self) -> tuple[int, ...]:
        """Device memory of each block; on one board for all, as much as the largest takes."""
        return tuple(learner.plan.memory.nbytes for learner in self.learners)

    def table(self) -> str:
        """Return a table of the blocks: parameters, heads, predicted cycles of a step, memory."""
        return block_table(self.blocks, self.learners, in_turn=self._shared is not None)

    def evaluate(self, x: Any, y: Any) -> tuple[Evaluation, ...]:
        """Return mean loss and accuracy of each block on labelled images.

        Raises:
            BadInput: they do not fit the network.
        """
        return self.evaluated(self.learners[0].data(x, y))

    def evaluated(self, data: Data) -> tuple[Evaluation, ...]:
        """Return :meth:`evaluate` of checked data."""
        count, first = len(self.blocks), self.learners[0]
        answers = passed(self.use, count, data.source, data.labels, self._ring)
        return evaluations(answers, count, data.labels, first.graph.classes, first.class_names)

    def exits(self, x: Any, confidence: float) -> Exits:
        """Return the answers of the first blocks that are sure; images go on until one is.

        The last block answers what is left.

        Args:
            x: images.
            confidence: probability of the most likely class (0..1) from which on a block answers.

        Raises:
            BadInput: the images do not fit, or another confidence.
        """
        if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not (
                0 <= confidence <= 1):
            raise BadInput("confidence", expected="a number of 0 to 1", found=repr(confidence)[:80])
        source = self.learners[0].images(x)
        return exits_of(passed(self.use, len(self.blocks), source, None, self._ring, confidence),
                        len(self.blocks), len(source))

    def use(self, number: int) -> BlockLearner:
        """Return the learner of a block; on one board for all the one before it is closed."""
        if self._shared is not None and self._used != number:
            if self._used is not None:
                self.learners[self._used].close()
            self._used = number
        return self.learners[number]

    def close(self) -> None:
        """Read all weights back and release the boards; a learner opens one again for itself."""
        self._shared = None
        with self._closing.pop_all() as closing:  # all are closed, whatever one of them says
            for block, learner in zip(self.blocks, self.learners):
                closing.callback(learner.belong, block, None)
                closing.callback(learner.close)

    def keep(self, closing: ExitStack) -> None:
        """Close something more in the end, behind the boards."""
        closing.push(self._closing.pop_all())
        self._closing = closing

    def __enter__(self) -> TrainedBlocks:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def train_blocks(blocks: Sequence[Block], x: Any, y: Any, epochs: int = 1, *,
                 boards: str | Sequence[str] | Members = GOLDEN, optimizer: SGD | None = None,
                 batch: int = 32, seed: int = 0, ring: int = RING, asynchronous: bool = False,
                 threads: bool | None = None, validation_data: tuple[Any, Any] | None = None,
                 params: Sequence[Mapping[str, LayerParams]] | None = None,
                 checkpoint: str | os.PathLike[str] | None = None, resume: bool = False,
                 progress: bool = True, **options: Any) -> TrainedBlocks:
    """Train the blocks of a network, each by its own head; no gradient crosses a cut.

    A step of a block is an ordinary training step of the engine. The map that goes to the next
    block is that of its forward pass, as codes with their exponent: nothing is rounded on the way,
    and no cycle is spent on it.

    On one board the blocks take turns, in the memory of the largest. On several, each block has its
    own. Both have the same bits, unless blocks run asynchronously in threads. Boards may be members
    of a fleet; where one is lost and there is a checkpoint, another takes its block over, and all
    go back to the end of the last epoch (``on_loss`` of the members).

    Args:
        blocks: of :func:`~pynq_train.fleet.block_training.block.blocks`.
        x: images as for :meth:`~pynq_train.train.Learner.fit`.
        y: labels.
        epochs: passes over the data; each block takes as many steps as there are mini-batches.
        boards: one backend for all blocks in turn, or a list with one for each, or members that
            are cut where the blocks end.
        optimizer: SGD with its schedule, for each block alike.
        batch: images of a mini-batch.
        seed: names the initial weights, the order of the images, and that of asynchronous blocks.
        ring: mini-batches that a buffer between two blocks holds.
        asynchronous: blocks do not wait for each other: each takes the least used mini-batch of its
            ring, of these the newest, and a full ring loses the most used. Else each mini-batch
            goes through every block once, in order.
        threads: all blocks work at the same time (default: where each has its own board). Without,
            one works at a time; asynchronous ones then in an order drawn by the seed.
        validation_data: images and labels that all blocks are evaluated on after each epoch.
        params: start weights of each block and its head, by layer name.
        checkpoint: folder in which all learners are saved after each epoch.
        resume: go on with the training of that folder; everything else is said again.
        progress: say what the blocks are, and how they do after each epoch.
        options: ``normalise``, ``input_range``, ``mean``, ``std`` of the images;
            ``loss``, ``label_smoothing``: as for a learner.

    Returns:
        The learners, open.

    Raises:
        BadInput: data, options or numbers that do not fit; the text says which.
        UnknownName: no such board.
        DoesNotFit: a block is too large for its board.
        FleetError: a member is lost, and nobody may or can take over.
    """
    blocks, resume = _checked(blocks), flag("resume", resume)

    def attempt(boards: str | Sequence[str], opened: Opened | None, resume: bool,
                saved: Callable[[], None]) -> TrainedBlocks:
        return _train(blocks, x, y, epochs, boards, opened, saved, optimizer, batch, seed, ring,
                      asynchronous, threads, validation_data, params, checkpoint, resume, progress,
                      options)

    if not isinstance(boards, Members):
        return attempt(boards, None, resume, lambda: None)
    with ExitStack() as stack:
        trained = over_members(boards, blocks, attempt, resume, checkpoint is not None, stack)
        trained.keep(stack.pop_all())
        return trained


def _train(blocks: tuple[Block, ...], x: Any, y: Any, epochs: int, boards: str | Sequence[str],
           opened: Opened | None, saved: Callable[[], None], optimizer: SGD | None, batch: int,
           seed: int, ring: int, asynchronous: bool, threads: bool | None,
           validation_data: tuple[Any, Any] | None,
           params: Sequence[Mapping[str, LayerParams]] | None,
           checkpoint: str | os.PathLike[str] | None, resume: bool, progress: bool,
           options: Mapping[str, Any]) -> TrainedBlocks:
    """Train as :func:`train_blocks` says.

    Args:
        opened: opens the board of each block (default: the learner does).
        saved: is called after each checkpoint.
    """
    names = list(boards_of(len(blocks), "block", boards,
                           "or one alone: blocks then take turns"))
    epochs, ring = whole("epochs", epochs, 1), whole("ring", ring, 1)
    asynchronous = flag("asynchronous", asynchronous)
    alone = isinstance(boards, str)
    threads = not alone if threads is None else flag("threads", threads)
    if threads and alone and len(blocks) > 1:
        raise BadInput("threads", expected="a board for each block", found=f"{boards!r} for all",
                       fix=f"use boards=[{boards!r}, ...], or leave threads out")
    if resume and checkpoint is None:
        raise BadInput("resume without checkpoint", fix="say where: checkpoint='FOLDER'")
    optimizer = SGD() if optimizer is None else optimizer
    made = _learners(blocks, names, params, {"optimizer": optimizer, "batch": batch, "seed": seed},
                     options)
    data = made[0].training_data(x, y)
    shown = None
    if validation_data is not None:
        shown = made[0].data(*check_pair("validation_data", validation_data))
    begin, files = 0, None
    if checkpoint is not None:
        files = BlockFiles(checkpoint, {
            "graphs": [block.graph.to_dict() for block in blocks], "epochs": epochs,
            "data": data.fingerprint, "asynchronous": asynchronous, "seed": made[0].seed,
            "ring": ring if asynchronous else 0, "batch": made[0].batch,
            "optimizer": optimizer.to_dict(), "loss": made[0].loss,
            "label_smoothing": made[0].label_smoothing, "images": str(made[0].input_format)})
        if resume:
            made, begin = files.load(names)
    for learner in made[1:]:
        if made[0].class_names:
            learner.class_names = made[0].class_names
    shared = None
    if alone:
        largest = max(learner.plan.memory.nbytes for learner in made)
        shared = open_backend(names[0], largest)
    with ExitStack() as stack:
        own = []
        for at, learner in enumerate(made if opened is not None else ()):
            assert opened is not None
            own.append(opened(at, learner.plan.memory.nbytes))
            stack.callback(own[-1].close)
        trained = TrainedBlocks(blocks, made, shared, ring, own)
        stack.pop_all()  # they are closed with it
    try:
        if progress:
            _say(trained.table())
        run = _Run(trained, data, epochs, ring, asynchronous, threads)
        for epoch in range(begin, epochs):
            run.epoch(epoch, shown)
            if progress:
                _say(_line(trained, epoch, epochs))
            if files is not None:
                files.save(made, epoch + 1)
                saved()
    except BaseException:
        trained.close()
        raise
    return trained


class _Run:
    """A training of all blocks.

    Args:
        trained: the learners.
        data: images and labels.
        epochs: passes over them.
        ring, asynchronous, threads: as of :func:`train_blocks`.
    """

    def __init__(self, trained: TrainedBlocks, data: Data, epochs: int, ring: int,
                 asynchronous: bool, threads: bool) -> None:
        self._trained, self._data, self._ring = trained, data, ring
        self._asynchronous, self._threads = asynchronous, threads
        first, self._count = trained.learners[0], len(trained.blocks)
        self._steps = len(data.source) // first.batch
        self._total = epochs * self._steps
        self._input_k = range_of(data.source.largest)

    def epoch(self, number: int, shown: Data | None) -> None:
        """Train an epoch, counted from 0: each block takes a step for each mini-batch.

        Rings are empty at its begin, so that files of the end of an epoch hold everything.

        Args:
            number: the epoch.
            shown: validation data, None for none.
        """
        first, count, began = self._trained.learners[0], self._count, time.monotonic()
        rings = [Ring(self._ring, not self._asynchronous) for _ in range(count - 1)]
        index = list(batches(len(self._data.source), first.batch, first.seed, first.state.epochs,
                             drop_last=True))
        tallies, done = [Tally() for _ in range(count)], [0] * count

        def step(block: int) -> None:
            learner, at = self._trained.use(block), number * self._steps + done[block]
            if block:
                images, labels = rings[block - 1].take()
                outcome, maps = learner.step(images, labels, at, self._total, self._input_k)
            else:
                rows = index[done[0]]
                labels = self._data.labels[rows]
                outcome, maps = learner.step(self._data.source.batch(rows), labels, at,
                                             self._total, self._input_k)
            done[block] += 1
            tallies[block].add(outcome.loss_sum, outcome.correct, outcome.images, outcome.cycles,
                               outcome.tensors)
            if maps is not None:
                rings[block].put(maps, labels)

        if self._threads:
            order.at_once(step, count, self._steps, rings)
        elif self._asynchronous:
            order.drawn(step, count, self._steps, rings, first.seed, first.state.epochs)
        else:
            order.in_turn(step, count, self._steps, self._ring)
        found = None if shown is None else self._trained.evaluated(shown)
        for at, (learner, tally) in enumerate(zip(self._trained.learners, tallies)):
            tally.seconds = time.monotonic() - began
            learner.end_epoch(tally, None if found is None else found[at])


def _checked(blocks: Any) -> tuple[Block, ...]:
    """Return blocks as a tuple; BadInput for something else."""
    found = tuple(blocks) if isinstance(blocks, (tuple, list)) else ()
    if not found or not all(isinstance(one, Block) for one in found):
        raise BadInput("blocks", expected="the blocks of a network", found=repr(blocks)[:80],
                       fix="use fleet.blocks(network, after=[...])")
    if [one.number for one in found] != list(range(len(found))) or found[-1].after:
        raise BadInput("blocks", expected="all blocks of one network, in order",
                       found="blocks " + ", ".join(str(one.number) for one in found))
    return found


def _learners(blocks: Sequence[Block], names: Sequence[str],
              params: Sequence[Mapping[str, LayerParams]] | None, common: Mapping[str, Any],
              options: Mapping[str, Any]) -> list[BlockLearner]:
    """Return new learners; what is said of images is for the first block alone."""
    of_images = {"normalise", "input_range", "mean", "std"}
    known = of_images | {"loss", "label_smoothing"}
    for name in options:
        if name not in known:
            raise UnknownName.among("option", name, known)
    if params is not None and len(params) != len(blocks):
        raise BadInput("params", expected=f"those of {len(blocks)} blocks", found=len(params))
    learners = []
    for at, (block, board) in enumerate(zip(blocks, names)):
        own = {name: value for name, value in options.items() if not at or name not in of_images}
        model = block.graph if params is None else Model(block.graph, params[at])
        learners.append(BlockLearner(model, board=board, **common, **own))
    return learners


def _line(trained: TrainedBlocks, epoch: int, epochs: int) -> str:
    """Return one line of an epoch: accuracy by block, on validation data if there are any."""
    last = [learner.history.epochs[-1] for learner in trained.learners]
    shown = [one.accuracy if one.val_accuracy is None else one.val_accuracy for one in last]
    what = "training" if last[0].val_accuracy is None else "validation"
    return f"epoch {epoch + 1}/{epochs}: {what} accuracy by block " + ", ".join(
        f"{100 * value:.1f} %" for value in shown)


def _say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
