"""Where a training stands: counters, history, and the run under way; part of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.files.schema import (
    Anything,
    Either,
    Flag,
    Items,
    Maybe,
    Number,
    Record,
    Schema,
    Table,
    Text,
    Whole,
)
from pynq_train.graph.class_names import MOST_NAME
from pynq_train.graph.image_format import LAYOUTS
from pynq_train.quant.loss import LOSSES
from pynq_train.train.history import EPOCHS, LOSSES_KEPT, TALLY, History, Tally
from pynq_train.train.loss_options import LOSS_OPTIONS

MOST_COUNT = (1 << 62) - 1
"""Largest count of anything in a checkpoint."""
MOST_BATCH = 1 << 20
"""Largest mini-batch, and number of them in an update."""
_COUNT = Whole(0, MOST_COUNT)


_RUN = Record({"epochs": Whole(1, MOST_COUNT), "total_steps": Whole(1, MOST_COUNT),
               "images": Whole(1, MOST_COUNT), "data": Text(64), "epoch": _COUNT, "step": _COUNT,
               "tally": TALLY, "callbacks": Items(Table(Anything()), most=1000)})
_NORMALISATION = Record({"mean": Items(Number(), least=1), "std": Items(Number(low=0), least=1)})
_TRAINABLE: Schema = Either(Text(), Items(Text(), least=1))
STATE = Record({
    "board": Text(), "batch": Whole(1, MOST_BATCH), "seed": Whole(-MOST_COUNT, MOST_COUNT),
    "trainable": _TRAINABLE, "optimizer": Table(Anything(), 100), "policy": Anything(),
    "loss": Text(among=LOSSES), "label_smoothing": Number(0, 1),
    "accumulate": Whole(1, MOST_BATCH), "history": EPOCHS, "steps": _COUNT, "epochs": _COUNT,
    "batch_losses": Items(Number(any_float=True), most=MOST_COUNT), "run": Maybe(_RUN),
    "normalise": Flag(), "normalisation": Maybe(_NORMALISATION),
    "input_format": Record({
        "input_range": Maybe(Items(Number(), least=2, most=2)), "stated": Flag(),
        "normalisation": Maybe(_NORMALISATION), "layout": Text(among=LAYOUTS),
        "gain": Number(1)}, optional=("layout", "gain")),
    "class_names": Items(Text(MOST_NAME), most=MOST_COUNT), "names_answer": Flag(),
    "loss_options": LOSS_OPTIONS,
}, optional=("board", "loss", "label_smoothing", "accumulate", "normalisation", "input_format",
             "class_names", "names_answer", "loss_options"))
"""Training state of a checkpoint. The exponent policy and the optimizer look at theirs."""


@dataclass
class Run:
    """A call of ``fit`` that has not ended.

    Attributes:
        epochs: epochs asked for; ``epoch``: finished ones.
        step: finished steps; ``total_steps``: those of all epochs.
        images: images of the training data; ``data``: their fingerprint, with the labels'.
        tally: sums of the epoch under way.
        callbacks: state of each callback.
    """

    epochs: int
    total_steps: int
    images: int
    data: str
    epoch: int = 0
    step: int = 0
    tally: Tally = field(default_factory=Tally)
    callbacks: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """Rebuild from ``asdict``."""
        values = dict(data)
        return cls(**{**values, "tally": Tally.from_dict(values["tally"])})


@dataclass
class TrainState:
    """Counters of a learner's life.

    Attributes:
        history: epochs, and the losses of the last call of ``fit``.
        steps: training steps of all calls.
        epochs: epochs of all calls; with the seed it names the order of the images.
        run: the call under way, None after its end.
        changed: options that a saved run could not go on with, for the message; not saved.
    """

    history: History = field(default_factory=History)
    steps: int = 0
    epochs: int = 0
    run: Run | None = None
    changed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return {"history": self.history.to_list(), "steps": self.steps, "epochs": self.epochs,
                "batch_losses": list(self.history.batch_losses[-LOSSES_KEPT:]),
                "run": None if self.run is None else asdict(self.run)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], changed: str = "") -> TrainState:
        """Rebuild from :meth:`to_dict`; without the run under way if options were ``changed``.

        Raises:
            BadInput: it is malformed.
        """
        try:
            history = History.from_list(data["history"])
            history.batch_losses = [float(loss) for loss in data["batch_losses"]]
            run = data["run"]
            state = cls(history, int(data["steps"]), int(data["epochs"]))
            if run is not None and changed:
                state.changed = changed
            elif run is not None:
                state.run = Run.from_dict(run)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"saved training state is malformed ({error})") from None
        return state
