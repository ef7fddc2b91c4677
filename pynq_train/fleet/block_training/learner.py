"""The learner of a block: it trains on maps of the block before it, and gives its own away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, RunRequest, RunResult, base
from pynq_train.data import Labels
from pynq_train.fleet.block_training.block import Block
from pynq_train.fleet.block_training.maps import MapBatch, read_map
from pynq_train.run.batch import Batch
from pynq_train.run.ranges import tensor_stats
from pynq_train.run.session import Session
from pynq_train.run.trainer import StepOutcome, Trainer
from pynq_train.schedule.compiled import build_programs
from pynq_train.train.history import Evaluation, Tally
from pynq_train.train.images import ImageSource, trained_format
from pynq_train.train.learner import Learner
from pynq_train.train.loop import Data


class Lent:
    """An open backend whose user may close it, which does nothing: it belongs to somebody else.

    Args:
        backend: the backend, open.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.arena_size_bytes = backend.name, backend.arena_size_bytes

    def open(self) -> Backend:
        """Return itself."""
        return self

    def close(self) -> None:
        """Nothing: who has opened the backend closes it."""

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, offset: int, data: base.Data) -> None:
        """Copy data into the arena."""
        self._backend.write(offset, data)

    def read(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """Return a copy of a part of the arena."""
        return self._backend.read(offset, nbytes)

    def run(self, request: RunRequest) -> RunResult:
        """Run a program to its end."""
        return self._backend.run(request)

    def run_step_mode(self, request: RunRequest) -> Iterator[int]:
        """Run a program one descriptor at a time."""
        return self._backend.run_step_mode(request)


class BlockLearner(Learner):
    """A learner of a block and its head: an ordinary network for the engine.

    It is made as any other, for the block's graph; :meth:`belong` says where it stands.
    """

    _maps_take_turns = False  # the next block reads one behind the step
    _block: Block | None = None
    _shared: Backend | None = None

    def belong(self, block: Block, shared: Backend | None) -> None:
        """Become the learner of a block.

        Args:
            block: the block.
            shared: a backend that several learners use in turn, each closing the one before it;
                None: the learner opens its own.
        """
        self._block, self._shared = block, shared
        self._layer = block.layer
        self._reader = -1 if self._layer is None else next(
            at for at, sources in enumerate(self._plan.sources) if self._layer in sources)

    def step(self, images: Batch, labels: Labels, at: int, total: int, input_k: int
             ) -> tuple[StepOutcome, MapBatch | None]:
        """Run training step ``at`` of ``total``; return what it says, and the block's map.

        The map is that of the step's own forward pass, made before the weights moved. Behind the
        last block there is none.

        Args:
            images: a mini-batch of images, or of maps.
            labels: ``(batch,)`` class numbers.
            at: number of the step in this training; in step 0 exponents are calibrated.
            total: steps of this training.
            input_k: images are below ``2**input_k``; maps say it themselves.

        Raises:
            HardwareFault: the backend stopped; weights and exponents are as before the step.
        """
        trainer = self._session()
        k = images.exact_k if isinstance(images, MapBatch) else input_k
        if at == 0:
            trainer.prepare(images, labels, k)
        if isinstance(images, MapBatch) and trainer.policy.input_k != k:
            trainer.policy.input_k = k
        exponent = 0
        if self._layer is not None:
            exponent = trainer.policy.exponents(self.batch).layers[self._layer].y
        sgd = self.optimizer.at(at, total, [spec.name for spec in self._plan.specs], 1, self.seed,
                                self.state.steps)
        outcome = trainer.protected(lambda: trainer.train_step(images, labels, sgd))
        self.state.steps += 1
        self.state.history.batch_losses.append(outcome.loss_sum / outcome.images)
        return outcome, self._map(trainer, self._layer, exponent, len(images))

    def forward(self, images: Batch, labels: Labels | None
                ) -> tuple[StepOutcome, NDArray[np.float32], MapBatch | None]:
        """Run the forward pass of at most a mini-batch: outcome, logits and map. No state changes.

        Raises:
            HardwareFault: the backend stopped.
        """
        trainer = self._session()
        known = trainer.policy.input_k
        if isinstance(images, MapBatch):
            trainer.policy.input_k = images.exact_k
        try:
            outcome, logits = trainer.evaluate(images, labels)
        finally:
            if isinstance(images, MapBatch):
                trainer.policy.input_k = known
        layer, exponent = self._layer, 0
        if layer is not None:  # an evaluation has no dropouts, nor what they would have made
            assert trainer.evaluated is not None
            layer = self._plan.evaluation_sources[self._reader][0]
            exponent = trainer.evaluated.layers[layer].y
        return outcome, logits, self._map(trainer, layer, exponent, len(images))

    def training_data(self, x: Any, y: Any) -> Data:
        """Return images and labels of a training, checked; format and names are learnt from them.

        Raises:
            BadInput: they do not fit the network, or are fewer than a mini-batch.
        """
        data, names = self._training_data(x, y)
        self.input_format, self._names = trained_format(data.source), names
        return data

    def data(self, x: Any, y: Any) -> Data:
        """Return images and labels of an evaluation, checked.

        Raises:
            BadInput: they do not fit the network.
        """
        source = self._images(x)
        return Data(source, self._targets(y, len(source), self.input_format)[0])

    def images(self, x: Any) -> ImageSource:
        """Return images, checked.

        Raises:
            BadInput: they do not fit the network.
        """
        return self._images(x)

    def end_epoch(self, tally: Tally, validation: Evaluation | None) -> None:
        """Count an epoch and add it to the history.

        Args:
            tally: sums of its steps.
            validation: of the block behind it, None without validation data.
        """
        policy = self._policy if self._trainer is None else self._trainer.policy
        self.state.epochs += 1
        self.history.epochs.append(tally.result(
            self.state.epochs, validation, tensor_stats(self._plan, policy, tally.tensors)))

    # -- private ---------------------------------------------------------------------------------

    def _map(self, session: Session, layer: int | None, exponent: int, count: int
             ) -> MapBatch | None:
        if layer is None:
            return None
        made = MapBatch(read_map(session, layer, exponent), self._layers[layer].out_shape[0])
        return made if count == len(made) else made.take(slice(count))

    def _session(self) -> Session:
        trainer = self._open()
        assert isinstance(trainer, Session), "blocks run on backends of one board each"
        return trainer

    def _open(self, cache: Any = False) -> Trainer:
        if self._trainer is None and self._planned.programs is None:
            # Learners that take turns open their board again and again.
            self._planned.programs = build_programs(self._plan)
        return super()._open(cache)

    def _open_backend(self, nbytes: int) -> Backend:
        return super()._open_backend(nbytes) if self._shared is None else Lent(self._shared)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy holds: the board that it shares with others is not a part of it."""
        return {**super().__getstate__(), "_shared": None}
