"""The learner: a network that trains on a board."""

from __future__ import annotations

import copy
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.backends import Backend, backend_names, open_backend
from pynq_train.data import batches
from pynq_train.errors import BadInput, UnknownName
from pynq_train.graph import Graph, LayerParams, fuse, init_params, zoo
from pynq_train.graph.init import FloatArray, check_params
from pynq_train.hw.boards import BOARDS, Board
from pynq_train.quant import ExponentPolicy
from pynq_train.quant.policy import INPUT_START
from pynq_train.schedule.plan import Plan, make_plan
from pynq_train.train.checkpoint import Checkpoint
from pynq_train.train.checkpoint import load as load_checkpoint
from pynq_train.train.checkpoint import save as save_checkpoint
from pynq_train.train.formats import range_of
from pynq_train.train.history import Evaluation, History, Tally
from pynq_train.train.hls import HLS_CSIM, HlsSession
from pynq_train.train.images import (
    ImageSource,
    Normalisation,
    checked_labels,
    measure_normalisation,
)
from pynq_train.train.interrupt import DeferredInterrupt
from pynq_train.train.optimizer import SGD
from pynq_train.train.session import Masters, Session, StepOutcome, new_policy

GOLDEN_BOARD = "pynq-z2"
"""Board whose plan the golden backend runs, and whose chip the EF-Train kernel is built for."""
OnEpoch = Callable[[Any], None]


def board_of(name: str) -> Board:
    """Board that a backend name plans for; :class:`UnknownName` lists the backends."""
    known = [*backend_names(), HLS_CSIM]
    if name not in known:
        raise UnknownName.among("board", name, known)
    hostless = name in ("golden", HLS_CSIM)
    return BOARDS[GOLDEN_BOARD if hostless else name.removeprefix("virtual:")]


class Learner:
    """A network, its weights and the board that trains it.

    Use it in a ``with`` statement, or call :meth:`close`, where the board is wanted back.

    Args:
        model: a :class:`~pynq_train.graph.Graph`, or the name of a network of the zoo.
        board: ``golden`` (NumPy), ``virtual:pynq-z2`` (the simulated board), ``pynq-z2``, or
            ``hls-csim`` (the EF-Train kernel, float32 and plain SGD).
        optimizer: SGD with its schedule.
        batch: images of a mini-batch.
        seed: names the initial weights and the order of the images.
        normalise: take mean and deviation of the first training images into the model.

    Raises:
        UnknownName: no such network or board.
        UnsupportedModel: the engine does not run such a network.
        DoesNotFit: the network with this batch is too large for the board.
    """

    def __init__(self, model: Graph | str, board: str = "golden", optimizer: SGD | None = None,
                 batch: int = 32, seed: int = 0, normalise: bool = False) -> None:
        self.graph = zoo.get(model) if isinstance(model, str) else model
        if not isinstance(self.graph, Graph):
            raise BadInput("model", expected="a Graph or the name of a network",
                           found=type(model).__name__,
                           fix="use pynq_train.load() for a saved learner")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise BadInput("seed", expected="an integer", found=repr(seed))
        self.board = board
        self._optimizer = optimizer if optimizer is not None else SGD()
        self.seed = seed
        self.normalisation: Normalisation | None = None
        self.history = History()
        self.steps = 0
        self._normalise = normalise
        self._layers = fuse(self.graph)
        self._plan = make_plan(self._layers, batch, board_of(board),
                               momentum=self.optimizer.momentum > 0)
        params = init_params(self._layers, seed)
        self._masters = {name: Masters.of(p) for name, p in params.items()}
        self._policy = new_policy(self._plan, self._masters, INPUT_START)
        self._run: dict[str, Any] | None = None
        self._epochs = 0
        self._backend: Backend | None = None
        self._session: Session | None = None

    # -- what it is ------------------------------------------------------------------------------

    @property
    def optimizer(self) -> SGD:
        """SGD with its schedule; another one may be set between trainings.

        Raises:
            BadInput: the new one has momentum, but the learner was made without.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, new: SGD) -> None:
        if new.momentum > 0 and not self._plan.momentum:
            raise BadInput("momentum", expected="0: this learner was made without momentum, its "
                           "board keeps bare weights", found=new.momentum,
                           fix="save it and load it with the new optimizer: "
                               "pynq_train.load(path, optimizer=...)")
        self._optimizer = new

    @property
    def plan(self) -> Plan:
        """Layers, tiles, memory and predicted cycles on the board."""
        return self._plan

    @property
    def batch(self) -> int:
        """Images of a mini-batch."""
        return self._plan.batch

    @property
    def params(self) -> dict[str, LayerParams]:
        """Present weights and biases as float32, by layer name."""
        return {name: own.params() for name, own in self.masters.items()}

    @property
    def masters(self) -> dict[str, Masters]:
        """Present weights and momentum, bit for bit as the engine keeps them."""
        if self._session is not None:
            self._masters = self._session.read_masters()
        return self._masters

    def set_params(self, params: Mapping[str, LayerParams]) -> None:
        """Start from other weights, for example trained in float32; momentum becomes zero."""
        check_params(self._layers, dict(params))
        self.close()
        self._masters = {name: Masters.of(p) for name, p in params.items()}
        self._policy = new_policy(self._plan, self._masters, self._policy.input_k)
        self._run = None

    # -- training --------------------------------------------------------------------------------

    def fit(self, x: Any, y: Any, epochs: int = 1,
            validation_data: tuple[Any, Any] | None = None, progress: bool = True,
            resume: bool = False, on_epoch: OnEpoch | None = None) -> History:
        """Train on images ``x`` with labels ``y`` for ``epochs`` passes over them.

        Every epoch visits the images in a new order; the images that do not fill a last mini-batch
        are left out of that epoch. Ctrl-C ends after the step under way; ``fit`` then returns with
        ``history.interrupted`` set, and ``fit(..., resume=True)`` with the same data goes on where
        it stopped, with the same bits as if nothing had happened.

        Args:
            x: images, see :class:`~pynq_train.train.images.ImageSource` for shapes.
            y: integer labels ``(n,)`` from 0.
            epochs: passes over the data.
            validation_data: images and labels that are evaluated after each epoch.
            progress: show a progress bar.
            resume: go on with an interrupted call.
            on_epoch: called with the :class:`EpochResult` of each epoch.

        Raises:
            BadInput: the data do not fit the network, or are fewer than a mini-batch.
        """
        if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
            raise BadInput("epochs", expected="an integer of 1 or more", found=repr(epochs))
        if self._normalise and self.normalisation is None:
            self.normalisation = measure_normalisation(x, self.graph.input_shape)
        source = self._images(x)
        labels = checked_labels(y, len(source), self.graph.classes)
        if len(source) < self.batch:
            raise BadInput("training images", expected=f"at least one mini-batch ({self.batch})",
                           found=len(source), fix="use a smaller batch")
        checked = None
        if validation_data is not None:
            images = self._images(validation_data[0])
            checked = images, checked_labels(validation_data[1], len(images), self.graph.classes)
        session = self._open()
        run = self._begin(source, labels, epochs, resume, session)
        self.history.interrupted = False
        with DeferredInterrupt() as interrupt:
            while run["epoch"] < run["epochs"] and not interrupt.pending:
                self._epoch(session, source, labels, run, checked, progress, interrupt, on_epoch)
        self.history.interrupted = run["epoch"] < run["epochs"]
        if not self.history.interrupted:
            self._run = None
        return self.history

    def _begin(self, source: ImageSource, labels: NDArray[np.int64], epochs: int, resume: bool,
               session: Session) -> dict[str, Any]:
        """Start a run, or take up the interrupted one: (state of the loops, calibrated policy)."""
        if resume:
            if self._run is None:
                raise BadInput("nothing to resume: the last training ran to its end",
                               fix="call fit without resume")
            if self._run["images"] != len(source):
                raise BadInput("images of the resumed training", expected=self._run["images"],
                               found=len(source), fix="pass the same data as before")
            return self._run
        per_epoch = len(source) // self.batch
        policy = session.policy
        policy.input_k = (max(policy.input_k, range_of(source.largest)) if self.steps
                          else range_of(source.largest))
        first = next(iter(batches(len(source), self.batch, self.seed, self._epochs)))
        session.calibrate(source.take(first), labels[first])
        self.history.batch_losses = []
        self._run = {"epochs": epochs, "epoch": 0, "step": 0, "images": len(source),
                     "total_steps": per_epoch * epochs, "tally": asdict(Tally())}
        return self._run

    def _epoch(self, session: Session, source: ImageSource, labels: NDArray[np.int64],
               run: dict[str, Any], validation: tuple[ImageSource, NDArray[np.int64]] | None,
               progress: bool, interrupt: DeferredInterrupt, on_epoch: OnEpoch | None) -> None:
        began = time.monotonic()
        tally = Tally.from_dict(run["tally"])
        per_epoch = len(source) // self.batch
        skip = run["step"] - run["epoch"] * per_epoch
        order = batches(len(source), self.batch, self.seed, self._epochs, drop_last=True)
        with _bar(progress, per_epoch, skip, f"epoch {run['epoch'] + 1}/{run['epochs']}") as bar:
            for number, index in enumerate(order):
                if number < skip:
                    continue
                if interrupt.pending:
                    break
                sgd = self.optimizer.at(run["step"], run["total_steps"])
                images = source.take(index)
                outcome = _protected(session, lambda: session.train_step(
                    images, labels[index], sgd))  # noqa: B023 - called before the next turn
                self.steps += 1
                run["step"] += 1
                _add(tally, outcome)
                self.history.batch_losses.append(outcome.loss_sum / outcome.images)
                bar.update(1)
                bar.set_postfix_str(f"loss {tally.loss / tally.images:.4f}, "
                                    f"accuracy {100 * tally.correct / tally.images:.1f} %",
                                    refresh=False)
            done = run["step"] == (run["epoch"] + 1) * per_epoch
            result = None
            if done and validation is not None:
                result = self._evaluate(session, *validation)
            tally.seconds += time.monotonic() - began
            if not done:
                run["tally"] = asdict(tally)
                return
            self._epochs += 1
            run["epoch"] += 1
            run["tally"] = asdict(Tally())
            epoch = tally.result(self._epochs, result)
            self.history.epochs.append(epoch)
            if result is not None:
                bar.set_postfix_str(f"loss {epoch.loss:.4f}, accuracy {100 * epoch.accuracy:.1f} "
                                    f"%, validation {100 * result.accuracy:.1f} %")
        if on_epoch is not None:
            on_epoch(epoch)

    # -- use -------------------------------------------------------------------------------------

    def evaluate(self, x: Any, y: Any) -> Evaluation:
        """Return mean loss (nats) and accuracy (0..1) on labelled images."""
        source = self._images(x)
        return self._evaluate(self._open(), source,
                              checked_labels(y, len(source), self.graph.classes))

    def predict(self, x: Any) -> NDArray[np.int64]:
        """Return the most likely class of each image, ``(n,)``."""
        return self.logits(x).argmax(axis=1)

    def logits(self, x: Any) -> FloatArray:
        """Return the network's output for each image, ``(n, classes)``."""
        source, session = self._images(x), self._open()
        self._check_calibrated(session, source)
        parts = [session.evaluate(source.take(part))[1] for part in self._parts(len(source))]
        return np.concatenate(parts)

    # -- keeping ---------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, weights, momentum and training state to a .safetensors file.

        The file is replaced as a whole or not at all. A learner loaded from it goes on with the
        same bits.
        """
        save_checkpoint(path, Checkpoint(self.graph, self.masters, self._state()))

    @classmethod
    def load(cls, path: str | os.PathLike[str], board: str = "golden",
             batch: int | None = None, optimizer: SGD | None = None) -> Learner:
        """Return the learner that :meth:`save` wrote.

        Args:
            path: the file.
            board: where it goes on.
            batch: another mini-batch (an interrupted training can then not be resumed).
            optimizer: another optimizer than the saved one.

        Raises:
            BadInput: no such file, damaged, or not a saved learner.
        """
        saved = load_checkpoint(path)
        state = saved.state
        name = os.fspath(path)
        try:
            learner = cls(saved.graph, board, optimizer or SGD.from_dict(state["optimizer"]),
                          int(state["batch"]) if batch is None else batch, int(state["seed"]),
                          bool(state["normalise"]))
            learner._masters = dict(saved.masters)
            learner._policy = ExponentPolicy.from_dict(state["policy"])
            learner.history = History.from_list(state["history"])
            learner.steps, learner._epochs = int(state["steps"]), int(state["epochs"])
            if state["normalisation"] is not None:
                learner.normalisation = Normalisation.from_dict(state["normalisation"])
            if learner.batch == int(state["batch"]):
                learner._run = state["run"]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"training state of {name!r} is malformed ({error})",
                           fix="save it again, or use a copy") from None
        if [k.name for k in learner._policy.layers] != [s.name for s in learner._plan.specs]:
            raise BadInput(f"training state of {name!r}", expected="the layers of its network",
                           found=[k.name for k in learner._policy.layers])
        return learner

    def close(self) -> None:
        """Read the weights back and release the board; the learner opens it again when needed."""
        session, backend = self._session, self._backend
        self._session = self._backend = None
        if session is not None:
            try:
                self._masters, self._policy = session.read_masters(), session.policy
            finally:
                if backend is not None:
                    backend.close()

    def __enter__(self) -> Learner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # -- private ---------------------------------------------------------------------------------

    def _open(self) -> Session:
        if self._session is None and self.board == HLS_CSIM:
            self._session = HlsSession(self._plan, self._masters, self._policy)
        if self._session is None:
            backend = open_backend(self.board, self._plan.memory.nbytes)
            try:
                self._session = Session(self._plan, backend, self._masters, self._policy)
            except BaseException:
                backend.close()
                raise
            self._backend = backend
        return self._session

    def _images(self, x: Any) -> ImageSource:
        return ImageSource(x, self.graph.input_shape, self.normalisation)

    def _parts(self, count: int) -> list[slice]:
        return [slice(begin, min(begin + self.batch, count))
                for begin in range(0, count, self.batch)]

    def _check_calibrated(self, session: Session, source: ImageSource) -> None:
        """A network that never ran has no ranges yet: measure them on the first images."""
        if not session.policy.feature[0]:
            session.policy.input_k = range_of(source.largest)
            session.calibrate_forward(source.take(self._parts(len(source))[0]))

    def _evaluate(self, session: Session, source: ImageSource, labels: NDArray[np.int64]
                  ) -> Evaluation:
        self._check_calibrated(session, source)
        loss, correct = 0.0, 0
        for part in self._parts(len(source)):
            outcome, _ = session.evaluate(source.take(part), labels[part])
            loss += outcome.loss_sum
            correct += outcome.correct
        return Evaluation(loss / len(source), correct / len(source))

    def _state(self) -> dict[str, Any]:
        policy = self._session.policy if self._session is not None else self._policy
        return {
            "board": self.board, "batch": self.batch, "seed": self.seed,
            "optimizer": self.optimizer.to_dict(), "policy": policy.to_dict(),
            "steps": self.steps, "epochs": self._epochs, "run": self._run,
            "history": self.history.to_list(), "normalise": self._normalise,
            "normalisation": self.normalisation.to_dict() if self.normalisation else None,
        }


def _protected(session: Session, step: Callable[[], StepOutcome]) -> StepOutcome:
    """Run a step; if it fails in the middle, the learner is as it was before it."""
    saved, policy = session.snapshot(), copy.deepcopy(session.policy)
    try:
        return step()
    except BaseException:
        session.policy = policy
        session.restore(saved)
        raise


def _add(tally: Tally, outcome: StepOutcome) -> None:
    tally.loss += outcome.loss_sum
    tally.correct += outcome.correct
    tally.images += outcome.images
    tally.cycles += outcome.cycles
    tally.saturations += outcome.saturations


def _bar(show: bool, total: int, initial: int, text: str) -> Any:
    from tqdm import tqdm

    seconds = 0.1 if sys.stderr.isatty() else 10.0  # a log file needs no moving picture
    return tqdm(total=total, initial=initial, desc=text, disable=not show, unit="step",
                dynamic_ncols=True, mininterval=seconds)
