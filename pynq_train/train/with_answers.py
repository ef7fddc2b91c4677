"""What of a learner answers questions: predictions, evaluations, anomalies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynq_train.arrays import Array
from pynq_train.errors import BadInput
from pynq_train.graph.image_format import ImageFormat
from pynq_train.graph.params import FloatArray
from pynq_train.quant.loss import BINARY
from pynq_train.run.trainer import Trainer
from pynq_train.train import answers
from pynq_train.train.class_names import ClassNames
from pynq_train.train.history import Evaluation
from pynq_train.train.images import ImageSource
from pynq_train.train.planning import Planned
from pynq_train.train.targets import Ends, Task, as_map, errors_of, with_numbers
from pynq_train.train.turns import in_turn
from pynq_train.train.with_domains import WithDomains

_QUANTILE = 0.99


class WithAnswers(WithDomains):
    """The part of a learner that computes outputs and says what they mean."""

    _planned: Planned
    _task: Task
    _threshold: float | None
    _warned: set[str]
    _has_weights: bool

    @property
    def loss(self) -> str:
        """What the network is trained for: the loss by its name."""
        return self._task.kind

    @property
    def label_smoothing(self) -> float:
        """Part of the target that is spread over all classes."""
        return self._task.smoothing

    @property
    def _ends(self) -> Ends:
        return Ends(self._task, self._plan.loss, self._plan.layers[-1].out_shape,
                    self.graph.input_shape)

    def _targets(self, y: Any, count: int, form: ImageFormat, *, learn: bool = False
                 ) -> tuple[Array, ClassNames]:
        """Return targets as the loss takes them, and the names of classes that are known then.

        Numbers as the targets of a squared error whose targets were labels so far make it one of
        numbers, from now on.
        """
        if self._ends.wants_numbers(y):
            task = with_numbers(self._task)
            planned = self._planned.with_loss(task.at(self._plan.layers, self._plan.batch))
            self.close()
            self._task, self._planned, self._plan = task, planned, planned.plan
            self._policy.loss = self._plan.loss
        return self._ends.checked(y, count, form, self._names, learn=learn,
                                  foreign=self._has_weights or self.state.steps > 0)

    @in_turn
    def evaluate(self, x: Any, y: Any) -> Evaluation:
        """Return mean loss (cross-entropy in nats), accuracy (0..1) and figures that fit the loss.

        Args:
            x: images as for :meth:`fit`.
            y: their targets, as for :meth:`fit`.
        """
        source = self._images(x)
        targets, names = self._targets(y, len(source), self.input_format)
        return answers.evaluate(self._ready(), source, targets, self._warned, names.names)

    @in_turn
    def predict(self, x: Any, *, names: bool | None = None) -> NDArray[Any]:
        """Return what the network says of each image.

        The most likely class ``(n,)``, or of each pixel ``(n, rows, cols)``; with
        ``binary-cross-entropy`` 0 or 1 for each output ``(n, outputs)``, of a single one ``(n,)``;
        with targets that are numbers the outputs, in the units of the targets
        (docs/training.md).

        Args:
            x: images as for :meth:`fit`.
            names: True: classes as names (str), False: as numbers (int64). Default: what the labels
                of the training were.

        Raises:
            BadInput: the images do not fit, or names are wanted and no class has one.
        """
        loss, ends = self._plan.loss, self._ends
        if loss.numbers:
            found = np.concatenate(list(self._outputs(x)))
            return ends.in_units(found, self.input_format)
        if loss.kind == BINARY:
            said = np.concatenate([(part > 0).astype(np.int64) for part in self._outputs(x)])
            return said[:, 0] if ends.shape[0] == 1 else said
        answer = self._names.answer(names, ends.shape[0])
        return answer(np.concatenate([part.argmax(axis=1) for part in self._outputs(x)]))

    @in_turn
    def predict_proba(self, x: Any) -> FloatArray:
        """Return the probabilities that the network gives its classes, shaped as the outputs.

        They are the softmax over the classes; with ``binary-cross-entropy`` the sigmoid of each
        output, of a single one ``(n,)``.

        Raises:
            BadInput: the outputs are numbers; or the images do not fit.
        """
        loss = self._plan.loss
        if loss.numbers:
            raise BadInput("predict_proba", expected="a network that says classes",
                           found=f"loss={loss.kind!r} of numbers", fix="use predict")
        outputs = np.concatenate(list(self._outputs(x)))
        if loss.kind == BINARY:
            found: FloatArray = (0.5 * (1 + np.tanh(0.5 * outputs))).astype(np.float32)
            return found[:, 0] if self._ends.shape[0] == 1 else found
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
        return shares

    @in_turn
    def logits(self, x: Any) -> FloatArray:
        """Return the network's output for each image, ``(n, classes)``; where a map is the end
        ``(n, channels, rows, cols)``.
        """
        return np.concatenate(list(self._outputs(x)))

    # -- anomalies -------------------------------------------------------------------------------

    @in_turn
    def scores(self, x: Any, y: Any = None) -> NDArray[np.float64]:
        """Return how far the outputs are from their targets, a mean over each sample ``(n,)``.

        It is the error that is trained (squared, or Huber's), in the units of the network. Of an
        autoencoder it says how unusual a sample is.

        Args:
            x: images as for :meth:`fit`.
            y: targets (default: the images themselves).

        Raises:
            BadInput: the outputs are no numbers, or not as many as those of an image.
        """
        ends, source = self._ends, self._images(x)
        if not ends.loss.numbers and not ends.wants_numbers(x if y is None else y):
            raise BadInput("scores", expected="a network whose outputs are numbers (loss='mse' or "
                           "'huber')", found=f"loss={ends.loss.kind!r}")
        if y is None and ends.shape != self.graph.input_shape:
            raise BadInput("scores", expected="outputs of the images' shape "
                           f"{self.graph.input_shape}, or targets",
                           found=f"outputs of shape {ends.shape}", fix="pass targets: scores(x, y)")
        targets, _ = self._targets(x if y is None else y, len(source), self.input_format)
        loss, begin, found = self._plan.loss, 0, []
        for _, part in answers.outputs(self._ready(), source, self._warned):
            found.append(errors_of(loss, as_map(part), targets[begin : begin + len(part)]))
            begin += len(part)
        return np.concatenate(found)

    @property
    def threshold(self) -> float | None:
        """Score above which :meth:`anomalies` calls a sample unusual; None: nobody has said one."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float | None) -> None:
        if value is not None:
            good = isinstance(value, (int, float, np.floating)) and not isinstance(value, bool)
            if not good or not 0 <= value < float("inf"):
                raise BadInput("threshold", expected="a finite number of 0 or more, or None",
                               found=repr(value)[:80])
            value = float(value)
        self._threshold = value

    def fit_threshold(self, x: Any, quantile: float = _QUANTILE) -> float:
        """Set, and return, the threshold that a part of usual samples is not above.

        Args:
            x: usual samples: those of the training, or better others.
            quantile: the part, 0 to 1.

        Raises:
            BadInput: ``quantile`` is out of range, or as for :meth:`scores`.
        """
        number = isinstance(quantile, (int, float)) and not isinstance(quantile, bool)
        if not number or not 0 <= quantile <= 1:
            raise BadInput("quantile", expected="0 to 1", found=repr(quantile)[:80])
        self.threshold = float(np.quantile(self.scores(x), quantile))
        assert self._threshold is not None
        return self._threshold

    def anomalies(self, x: Any) -> NDArray[np.bool_]:
        """Return which samples have a score above the :attr:`threshold`, ``(n,)``.

        Raises:
            BadInput: there is no threshold, or as for :meth:`scores`.
        """
        if self._threshold is None:
            raise BadInput("anomalies", expected="a threshold", found="none",
                           fix="call fit_threshold(x) with usual samples, or set "
                               "learner.threshold")
        found: NDArray[np.bool_] = self.scores(x) > self._threshold
        return found

    # -- what the learner has --------------------------------------------------------------------

    def _images(self, x: Any, form: ImageFormat | None = None) -> ImageSource:
        """Return images, checked."""
        raise NotImplementedError

    def _ready(self) -> Trainer:
        """Return the open trainer, with ranges of the model's sample."""
        raise NotImplementedError

    def _outputs(self, x: Any) -> Iterator[FloatArray]:
        """Yield the outputs of the images, mini-batch by mini-batch."""
        source = self._images(x)
        for _, logits in answers.outputs(self._ready(), source, self._warned):
            yield logits
