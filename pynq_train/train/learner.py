"""The learner: a network that trains on a board."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from pynq_train.arrays import plain
from pynq_train.backends import Backend, open_backend
from pynq_train.backends.names import HLS_CSIM, board_of
from pynq_train.errors import BadInput
from pynq_train.exchange import export_onnx
from pynq_train.graph import Graph, LayerParams, Model
from pynq_train.graph.image_format import ImageFormat, Normalisation
from pynq_train.layers import fuse, init_params
from pynq_train.layers.init import check_params
from pynq_train.layers.supported import check_values
from pynq_train.quant.loss import CROSS_ENTROPY
from pynq_train.quant.policy import INPUT_START
from pynq_train.run.masters import Masters
from pynq_train.run.session import new_policy
from pynq_train.run.trainer import Trainer
from pynq_train.schedule.board_time import BoardTime, board_time
from pynq_train.schedule.plan import Plan
from pynq_train.schedule.predict import Prediction, predict
from pynq_train.schedule.report import table
from pynq_train.schedule.specs.trainable import TrainableChoice
from pynq_train.train import answers
from pynq_train.train.arguments import (
    changed_options,
    check_board,
    check_count,
    check_given,
    check_normalise,
    check_pair,
    flag,
    saving_of,
)
from pynq_train.train.callbacks import UserCallback, as_callbacks
from pynq_train.train.checkpoint import Checkpoint
from pynq_train.train.checkpoint import load as load_checkpoint
from pynq_train.train.checkpoint import save as save_checkpoint
from pynq_train.train.class_names import ClassNames
from pynq_train.train.domains import Adapters
from pynq_train.train.history import Evaluation, History
from pynq_train.train.images import ImageSource, check_outliers, normalised, trained_format
from pynq_train.train.loop import Data, Loop
from pynq_train.train.opening import open_trainer
from pynq_train.train.optimizer import SGD, check_optimizer
from pynq_train.train.planning import Closable, Place, Training, planned
from pynq_train.train.report import write_report
from pynq_train.train.restore import check_exponents, format_of, options_of
from pynq_train.train.schedules import whole
from pynq_train.train.start import begun_anew, is_rung, start_of
from pynq_train.train.state import MOST_BATCH, MOST_COUNT, TrainState
from pynq_train.train.targets import Task, without_sigmoid
from pynq_train.train.turns import Turns, in_turn
from pynq_train.train.value_warnings import check_images, check_weights
from pynq_train.train.watch import check_classes
from pynq_train.train.with_answers import WithAnswers


class Learner(WithAnswers):
    """A network, its weights and the board that trains it.

    Use it in a ``with`` statement, or call :meth:`close`, where the board is wanted back.

    Args:
        model: a :class:`~pynq_train.graph.Graph`, a :class:`~pynq_train.graph.Model` (it begins
            with the model's weights), or the name of a network of the zoo.
        board: ``golden`` (NumPy), ``virtual:pynq-z2`` (the simulated board), ``pynq-z2``,
            ``hls-csim`` (the EF-Train kernel, float32 and plain SGD), or several boards at once
            (:class:`~pynq_train.fleet.boards.Boards`).
        optimizer: SGD with its schedule.
        batch: images of a mini-batch.
        seed: names the initial weights and the order of the images.
        normalise: take mean and deviation of the first training images into the model.
        input_range: lowest and highest value of the images, such as ``(0, 255)``; uint8 images are
            spread over it (default: that of the model; else the training says it, and uint8 images
            are divided by 255).
        mean, std: a number or one per channel, in the units of that range: the network sees
            ``(image - mean) / std`` (default: those of the model).
        loss: ``cross-entropy`` (of the softmax), of each pixel where a map is the end; ``mse``:
            mean squared difference of the outputs and targets that are numbers, or 1 at the label
            and 0 elsewhere; ``huber``; or ``binary-cross-entropy`` of outputs that are yes or no.
            All as in PyTorch (docs/training.md).
        label_smoothing: of the cross-entropy: part of the target that is spread over all classes
            evenly, 0 to below 1.
        accumulate: mini-batches whose mean gradient makes one update, for batches that memory does
            not hold. The weights are updated as with a batch of ``accumulate * batch`` images.
        trainable: what is trained: ``all``, ``last-layer``, ``last-block`` (the last convolution
            and everything behind it), ``bias`` (all biases), ``norm`` (all normalisations), or
            names and patterns of layers and parameters (``["conv2", "*.bias"]``). The rest is
            frozen: see :meth:`summary`. ``lora``, ``skip-lora``, ``da3``, ``lite-residual`` and
            ``sparse`` add adapters to the network (:mod:`pynq_train.rungs`). ``all`` leaves out
            what the model freezes (``Model.frozen``); ``*`` does not.
        class_names: names of all classes, in the order of the outputs (default: those of the
            model, or of the training labels, if these are names).
        class_weights: factor of each class's cross-entropy, one for each output.
        ignore_index: target that does not count, with the cross-entropies.
        huber_delta: difference beyond which Huber's loss is linear.

    Raises:
        UnknownName: no such network or board.
        UnsupportedModel: the engine does not run such a network.
        DoesNotFit: the network with this batch is too large for the board.
    """

    _maps_take_turns = True

    def __init__(self, model: Graph | Model | str, board: str | Place = "golden", *,
                 optimizer: SGD | None = None, batch: int = 32, seed: int = 0,
                 normalise: bool = False, trainable: TrainableChoice = "all",
                 loss: str = CROSS_ENTROPY, label_smoothing: float = 0.0,
                 accumulate: int = 1, input_range: Sequence[float] | None = None,
                 mean: float | Sequence[float] | None = None,
                 std: float | Sequence[float] | None = None,
                 class_names: Sequence[str] | None = None,
                 class_weights: Sequence[float] | None = None, ignore_index: int | None = None,
                 huber_delta: float = 1.0, _saved: Checkpoint | None = None) -> None:
        self.seed = whole("seed", seed, -MOST_COUNT, MOST_COUNT)
        begun = start_of(model, trainable, seed)
        self.graph, start = without_sigmoid(begun.graph, loss), begun.params
        self._sample = begun.sample
        accumulate = whole("accumulate", accumulate, 1, MOST_BATCH)
        self.board, self._place, self._normalise = check_board(board, normalise)
        self.accumulate = accumulate
        self._optimizer = SGD() if optimizer is None else check_optimizer(optimizer)
        self._optimizer.check_accumulation(accumulate)
        self._turns, self._warned = Turns(), set[str]()
        check_weights(start or {}, self._warned)
        self.input_format = begun.form.with_given(self.graph.input_shape[0], input_range, mean, std)
        check_normalise(self._normalise, self.input_format)
        self._names = ClassNames.given(class_names, self.graph.classes, begun.names)
        self._has_weights = start is not None
        self.state = TrainState()
        self._layers = fuse(self.graph)
        self.trainable: TrainableChoice = begun.trainable
        self._task = Task.of(self._layers, loss, label_smoothing, class_weights, ignore_index,
                             huber_delta, Task.saved_values(_saved))
        self._threshold: float | None = None
        # The momentum holds what is accumulated.
        self._planned = planned(Training(
            self._layers, self.graph.name, self._place.board if self._place else
            board_of(self.board), plain(batch), self.trainable, self.optimizer.momentum > 0 or
            accumulate > 1, self._task.at(self._layers, plain(batch)), self._maps_take_turns),
            None if _saved is None else _saved.compiled, self.graph, self._place)
        self._plan = self._planned.plan
        self._optimizer.factors([layer.name for layer in self._layers])  # refuse odd patterns now
        if _saved is None:
            params = init_params(self.graph, seed) if start is None else start
            self._masters = {name: Masters.of(p) for name, p in params.items()}
        else:
            self._masters = dict(_saved.masters)
        self._policy = new_policy(self._plan, self._masters, INPUT_START)
        self._kept: dict[str, Adapters] = {}
        self._backend: Closable | None = None
        self._trainer: Trainer | None = None

    def __repr__(self) -> str:
        """Return one line: network, board, mini-batch, what is trained, steps so far."""
        chosen = self.trainable if isinstance(self.trainable, str) else ", ".join(self.trainable)
        return (f"<Learner {self.graph.name} on {self.board}: mini-batch {self.batch}, "
                f"trainable {chosen}, {self.steps} steps{self._names}>")

    # -- what it is ------------------------------------------------------------------------------

    @property
    def optimizer(self) -> SGD:
        """SGD with its schedule; another one may be set between trainings.

        Raises:
            BadInput: the new one has momentum, but the learner was made without; or it is no SGD.
        """
        return self._optimizer

    @optimizer.setter
    def optimizer(self, new: SGD) -> None:
        check_optimizer(new)
        if new.momentum > 0 and not self._plan.momentum:
            raise BadInput("momentum", expected="0: this learner was made without momentum, its "
                           "board keeps bare weights", found=new.momentum,
                           fix="save it and load it with the new optimizer: "
                               "pynq_train.load(path, optimizer=...)")
        new.check_accumulation(self.accumulate)
        new.factors([layer.name for layer in self._layers])
        self._optimizer = new

    @property
    def plan(self) -> Plan:
        """Layers, tiles and memory on the board; :meth:`summary` shows it."""
        return self._planned.whole

    def summary(self) -> str:
        """Return tables of the plan for people: tiles, predicted cycles, memory, frozen layers."""
        return table(self.plan)

    def predicted_step(self) -> Prediction:
        """Return the cycles and traffic that the cycle model predicts for a training step."""
        return predict(self.plan, self.plan.train)

    def board_time(self, steps: int = 1, cycles: int | None = None) -> BoardTime:
        """Return the seconds of training steps on the board: of the engine, and with its processor.

        ``cycles``: what the engine has counted for all of them (default: as predicted)."""
        found = self.predicted_step().cycles * whole("steps", steps)
        return board_time(self.plan, found if cycles is None else whole("cycles", cycles), steps)

    @in_turn
    def plan_cache(self, cache: bool | str | os.PathLike[str] = True) -> Plan:
        """Plan a step that begins with a cache, as ``fit`` does; BadInput says why none can be."""
        if not self._plan.cached:
            planned = self._planned.with_cache(cache, self.board)
            self.close()
            self._planned, self._plan = planned, planned.plan
        return self.plan

    @in_turn
    def compile(self) -> None:
        """Make the programs now, so that a file holds them from now on.

        A learner that is loaded from it, for the same board and training, starts without planning.
        """
        self._planned.compile()

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and deviation that are taken from, and divide, every image; None without."""
        return self.input_format.seen

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, from the first output on; they may be set, all at once.

        Raises:
            BadInput: not as many names as classes.
        """
        return self._names.names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        self._names = ClassNames.given(names, self.graph.classes)

    @property
    def history(self) -> History:
        """Epochs so far."""
        return self.state.history

    @property
    def steps(self) -> int:
        """Training steps so far."""
        return self.state.steps

    @property
    def batch(self) -> int:
        """Images of a mini-batch."""
        return self._plan.batch

    @property
    def params(self) -> dict[str, LayerParams]:
        """Present weights and biases as float32, by layer name."""
        return {name: own.params() for name, own in self.masters.items()}

    @property
    @in_turn
    def masters(self) -> dict[str, Masters]:
        """Present weights and momentum, bit for bit as the engine keeps them."""
        return self._present()

    @in_turn
    def set_params(self, params: Mapping[str, LayerParams]) -> None:
        """Start from other weights, for example trained in float32; momentum becomes zero.

        Raises:
            BadInput: they do not fit the network, or are no finite numbers.
            UnsupportedModel: the engine's formats do not hold them; layers and values are named.
        """
        check_params(self._layers, check_given(params))
        check_values(f"network {self.graph.name!r}", params)
        check_weights(params, self._warned)
        self.close()
        self._masters = {name: Masters.of(p) for name, p in params.items()}
        self._policy = new_policy(self._plan, self._masters, self._policy.input_k)
        self.state.run = None

    # -- training --------------------------------------------------------------------------------

    @in_turn
    def fit(self, x: Any, y: Any, epochs: int = 1, *,
            validation_data: tuple[Any, Any] | None = None, progress: bool = True,
            resume: bool = False, callbacks: Sequence[UserCallback] = (),
            checkpoint: str | os.PathLike[str] | None = None,
            checkpoint_every: int | None = None,
            cache: bool | str | os.PathLike[str] = False) -> History:
        """Train on images ``x`` with labels ``y`` for ``epochs`` passes over them.

        Every epoch visits the images in a new order; the images that do not fill a last mini-batch
        are left out of that epoch. Ctrl-C ends after the step under way; ``fit`` then returns with
        ``history.interrupted`` set, and ``fit(..., resume=True)`` with the same data goes on where
        it stopped, with the same bits as if nothing had happened. So does a learner loaded from a
        checkpoint, whatever ended the process that wrote it.

        Args:
            x: images, uint8 or floats, ``(n, rows, cols)``, ``(n, rows, cols, channels)`` or
                ``(n, channels, rows, cols)``.
            y: labels ``(n,)``: integers from 0, or names of the classes (strings), which are kept:
                see :attr:`class_names`. Where a map is the end, integers for each pixel; with
                ``binary-cross-entropy`` 0 or 1 for each output; with ``mse`` and ``huber`` numbers
                for each output: ``fit(x, x)`` trains an autoencoder.
            epochs: passes over the data.
            validation_data: images and labels that are evaluated after each epoch.
            progress: show a progress bar.
            resume: go on with an interrupted call.
            callbacks: objects of :mod:`pynq_train.callbacks`, or functions that are called with
                the :class:`~pynq_train.train.history.EpochResult` of each epoch; one that returns
                True ends the training.
            checkpoint: file in which the learner is saved at the beginning, on the way, at the
                end.
            checkpoint_every: steps from checkpoint to checkpoint (default: once an epoch).
            cache: compute what frozen layers make of each image once and begin all steps with it;
                True: it is kept in memory, else in this file.

        Raises:
            BadInput: the data do not fit, are fewer than a mini-batch, or cannot be cached.
        """
        epochs, resume = whole("epochs", epochs, 1), flag("resume", resume)
        progress = flag("progress", progress)
        saving = saving_of(checkpoint, checkpoint_every)
        called = as_callbacks(callbacks)
        data, names = self._training_data(x, y)
        validate = None
        if validation_data is not None:
            shown, wanted = check_pair("validation_data", validation_data)
            images = self._images(shown, data.source.form)
            wanted, _ = self._ends.checked(wanted, len(images), data.source.form, names)

            def validate() -> Evaluation:
                return answers.evaluate(trainer, images, wanted, self._warned, names.names)

        trainer = self._open(cache)
        self.input_format, self._names = trained_format(data.source), names
        loop = Loop(self, trainer, data, validate, called, saving, progress, self._warned, cache)
        loop.start(epochs, resume)
        return self.history

    # -- use -------------------------------------------------------------------------------------

    @property
    @in_turn
    def calibrated(self) -> bool:
        """Whether the ranges of all feature maps are known: from a training or a calibration."""
        return any((self._policy if self._trainer is None else self._trainer.policy).feature)

    @in_turn
    def calibrate(self, x: Any) -> None:
        """Take the ranges of all feature maps from images, without training.

        A network that was trained here knows its ranges, and gets room for these images as well;
        an imported one measures them anew in each call until it is calibrated or trained (it is by
        itself if the model has a ``sample``). They are saved with the learner.

        Args:
            x: images as for :meth:`fit`; a hundred typical ones do.

        Raises:
            BadInput: they do not fit the network.
        """
        source = self._images(x)
        answers.calibrate(self._ready(), source)

    # -- keeping ---------------------------------------------------------------------------------

    @in_turn
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write network, weights, momentum and training state to a .safetensors file.

        The file is replaced as a whole or not at all. A learner loaded from it goes on with the
        same bits.
        """
        if self._sample is not None:
            self._ready()
        compiled = self._planned.compiled
        save_checkpoint(path, Checkpoint(self.graph, self.masters, self._state(), compiled))

    @in_turn
    def export(self, path: str | os.PathLike[str]) -> None:
        """Write network and present weights to an ONNX file, normalisation included.

        Its input are images as float32 ``(n, channels, rows, cols)`` in the model's range
        (docs/images.md), its weights those that are trained. Needs ``onnx``, on a PC.

        Raises:
            BadInput: the folder cannot be written.
            MissingTool: the package ``onnx`` is not installed.
        """
        export_onnx(self.graph, self.params, path, input_format=self.input_format,
                    class_names=self.class_names)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a self-contained HTML report: curves, ranges, saturations, cycles, plan.

        Raises:
            BadInput: the folder does not exist or is not writable.
        """
        write_report(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], board: str | Place = "golden", *,
             batch: int | None = None, optimizer: SGD | None = None,
             trainable: TrainableChoice | None = None, loss: str | None = None,
             label_smoothing: float | None = None, accumulate: int | None = None,
             input_range: Sequence[float] | None = None,
             mean: float | Sequence[float] | None = None,
             std: float | Sequence[float] | None = None, compiled: bool = True) -> Learner:
        """Return the learner that :meth:`save` wrote.

        Args:
            path: the file.
            board: where it goes on.
            optimizer, loss, label_smoothing: others than the saved ones.
            batch, trainable, accumulate, input_range, mean, std: others than the saved ones; an
                interrupted training can then not be resumed.
            compiled: False: plan anew, also if the file holds compiled programs.

        Raises:
            BadInput: no such file, damaged, or not a saved learner; or its compiled programs are
                of another version or for another board.
        """
        saved = load_checkpoint(path)
        saved = saved if flag("compiled", compiled) else replace(saved, compiled=None)
        try:
            options = options_of(
                saved.state, batch=batch, optimizer=optimizer, trainable=trainable, loss=loss,
                label_smoothing=label_smoothing, accumulate=accumulate)
            if is_rung(trainable):  # another network, which begins with these weights
                return cls(board=board, input_range=input_range, mean=mean, std=std,
                           **begun_anew(saved, options))
            learner = cls(saved.graph, board=board, _saved=saved, **options)
            learner._restore(saved.state, input_range, mean, std)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"training state of {os.fspath(path)!r} is malformed ({error})",
                           fix="save it again, or use a copy") from None
        return learner

    def _restore(self, state: Mapping[str, Any], input_range: Sequence[float] | None,
                 mean: float | Sequence[float] | None, std: float | Sequence[float] | None) -> None:
        """Take what a checkpoint holds beside the weights; the format of images may be another."""
        self._take_policy(state["policy"])
        check_exponents(self._plan, self._policy)
        form = format_of(state, self.graph.input_shape[0])
        self.input_format = form.with_given(self.graph.input_shape[0], input_range, mean, std)
        self.state = TrainState.from_dict(state, changed_options({
            "batch": (state["batch"], self.batch),
            "trainable": (state["trainable"], self.trainable),
            "accumulate": (state.get("accumulate", 1), self.accumulate),
            "images": (str(form), str(self.input_format))}))
        self._names = ClassNames.from_state(state, self.graph.classes)
        self._threshold = state.get("loss_options", {}).get("threshold")
        self._has_weights = True

    @in_turn
    def close(self) -> None:
        """Read the weights back and release the board; the learner opens it again when needed."""
        trainer, backend = self._trainer, self._backend
        self._trainer = self._backend = None
        try:
            if trainer is not None:
                self._masters, self._policy = trainer.read_masters(), trainer.policy
        finally:
            if backend is not None:
                backend.close()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle holds: present weights and state, not the open board."""
        made_anew = ("_plan", "_planned", "_layers", "_policy", "_trainer", "_backend")
        own = {name: value for name, value in self.__dict__.items() if name not in made_anew}
        policy = self._trainer.policy if self._trainer is not None else self._policy
        return {**own, "_masters": self.masters, "state": copy.deepcopy(self.state),
                "policy": policy.to_dict(), "planned": self._planned.kept()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the copy; it opens the board by itself when it is needed."""
        own = dict(state)
        kept, policy = own.pop("planned"), own.pop("policy")
        self.__dict__.update(own)
        self._layers = fuse(self.graph)
        self._planned = planned(kept[0], kept[1], self.graph, self._place)
        self._plan, self._trainer, self._backend = self._planned.plan, None, None
        self._take_policy(policy)

    def __enter__(self) -> Learner:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # -- private ---------------------------------------------------------------------------------

    def _open(self, cache: Any = False) -> Trainer:
        if cache:
            self.plan_cache(cache)
        if self._trainer is None:
            self._trainer, self._backend = open_trainer(
                self._planned, self.board == HLS_CSIM, self._masters, self._policy,
                self._open_backend)
        return self._trainer

    def _open_backend(self, nbytes: int) -> Backend:
        return open_backend(self.board, nbytes)

    def _ready(self) -> Trainer:
        """Return the open trainer; the first time it takes its ranges from the model's sample."""
        trainer = self._open()
        if self._sample is not None:
            if not self.calibrated:
                answers.calibrate(trainer, self._images(self._sample))
            self._sample = None
        return trainer

    def _images(self, x: Any, form: ImageFormat | None = None) -> ImageSource:
        form = self.input_format if form is None else form
        source = ImageSource(x, self.graph.input_shape, form, self._warned)
        check_images(source, self._has_weights and self.steps == 0, self._warned)
        return source

    def _training_data(self, x: Any, y: Any) -> tuple[Data, ClassNames]:
        """Return what a training reads, checked, and the names known then; nothing is learnt yet.
        """
        shape, form = self.graph.input_shape, self.input_format
        source = self._images(x, normalised(form, x, shape) if self._normalise else form)
        labels, names = self._targets(y, len(source), source.form, learn=True)
        check_classes(labels, self._plan.loss, self._warned, names.names)
        check_outliers(source, self._warned)
        check_count(len(source), self.batch, self.accumulate)
        return Data(source, labels), names

    def _state(self) -> dict[str, Any]:
        policy = self._trainer.policy if self._trainer is not None else self._policy
        return {
            "board": self.board, "batch": self.batch, "seed": self.seed,
            "trainable": self.trainable, "optimizer": self.optimizer.to_dict(),
            "policy": policy.to_dict(), "loss": self.loss, "label_smoothing": self.label_smoothing,
            "loss_options": {**self._task.to_state(), "threshold": self._threshold},
            "accumulate": self.accumulate, **self.state.to_dict(), "normalise": self._normalise,
            "input_format": self.input_format.to_dict(), **self._names.to_state(),
        }
