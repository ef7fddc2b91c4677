"""Where a training stands: counters, history, and the run under way; part of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pynq_train.errors import BadInput
from pynq_train.train.history import History, Tally


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
    """

    history: History = field(default_factory=History)
    steps: int = 0
    epochs: int = 0
    run: Run | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        return {"history": self.history.to_list(), "steps": self.steps, "epochs": self.epochs,
                "batch_losses": list(self.history.batch_losses),
                "run": None if self.run is None else asdict(self.run)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], keep_run: bool = True) -> TrainState:
        """Rebuild from :meth:`to_dict`; ``keep_run``: with the run under way.

        Raises:
            BadInput: it is malformed.
        """
        try:
            history = History.from_list(data["history"])
            history.batch_losses = [float(loss) for loss in data["batch_losses"]]
            run = data["run"]
            state = cls(history, int(data["steps"]), int(data["epochs"]))
            if run is not None and keep_run:
                state.run = Run.from_dict(run)
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"saved training state is malformed ({error})") from None
        return state
