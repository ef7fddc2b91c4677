"""A report of a training: one HTML file with curves, ranges, saturations, cycles and the plan."""

from __future__ import annotations

import html
import io
import os
from collections.abc import Iterable, Sequence

from pynq_train.files import write_atomic
from pynq_train.schedule.board_time import board_time
from pynq_train.schedule.predict import predict
from pynq_train.schedule.report import table
from pynq_train.train.history import EpochResult
from pynq_train.train.learner_view import LearnerView

_STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto;
  padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .15em .8em; text-align: right;
  border-bottom: 1px solid #ddd } th:first-child, td:first-child { text-align: left }
pre { overflow-x: auto; background: #f6f6f6; padding: 1em; font-size: 12px }
svg { max-width: 100%; height: auto }"""


def write_report(learner: LearnerView, path: str | os.PathLike[str]) -> None:
    """Write the report of a learner; the file needs nothing beside it.

    Curves are drawn if matplotlib is installed; without it their numbers stand in a table.

    Raises:
        BadInput: the folder does not exist or is not writable.
    """
    plan, history = learner.plan, learner.history
    name = html.escape(learner.graph.name)
    parts = [f"<h1>{name}</h1>", _summary(learner), "<h2>Curves</h2>",
             _curves(history.epochs, history.batch_losses), _epoch_table(history.epochs),
             "<h2>Ranges and saturations</h2>", _tensors(history.epochs),
             "<h2>Plan</h2>", f"<pre>{html.escape(table(plan))}</pre>"]
    text = (f"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
            f"<title>{name}</title><style>{_STYLE}</style></head>\n<body>\n"
            + "\n".join(parts) + "\n</body></html>\n")
    write_atomic(path, text.encode())


def _summary(learner: LearnerView) -> str:
    plan = learner.plan
    step = predict(plan, plan.train)
    seconds = board_time(plan, step.cycles * learner.steps, learner.steps)
    rows = [("board", learner.board), ("mini-batch", learner.batch),
            ("training steps", learner.steps), ("optimizer", str(learner.optimizer)),
            ("trainable", learner.trainable if isinstance(learner.trainable, str)
             else ", ".join(learner.trainable)),
            *([("classes", ", ".join(learner.class_names))] if learner.class_names else []),
            ("memory on the board", f"{plan.memory.nbytes} bytes"),
            ("predicted cycles of a step", step.cycles),
            ("seconds of the engine", f"{seconds.engine:.3f} (all steps at "
             f"{step.clock_mhz:.0f} MHz, predicted)"),
            ("seconds on the board", f"{seconds.both:.3f} (engine and processor, estimated)")]
    counted = sum(epoch.cycles for epoch in learner.history.epochs)
    if counted:
        rows.append(("cycles counted by the engine", counted))
    return _table(("", ""), rows)


def _curves(epochs: Sequence[EpochResult], losses: Sequence[float]) -> str:
    """Return inline SVG of losses and accuracies; a sentence without epochs or matplotlib."""
    if not epochs:
        return "<p>No epoch has ended yet.</p>"
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return "<p>No curves: matplotlib is not installed.</p>"
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    left, middle, right = figure.subplots(1, 3)
    numbers = [epoch.epoch for epoch in epochs]
    for axes, title, own, checked in (
            (left, "loss (nats)", [e.loss for e in epochs], [e.val_loss for e in epochs]),
            (middle, "accuracy", [e.accuracy for e in epochs], [e.val_accuracy for e in epochs])):
        axes.plot(numbers, own, "o-", label="training")
        if any(value is not None for value in checked):
            axes.plot(numbers, [float("nan") if v is None else v for v in checked], "s-",
                      label="validation")
        axes.set(title=title, xlabel="epoch")
        axes.legend()
    right.plot(range(1, len(losses) + 1), losses, linewidth=0.8)
    right.set(title="loss of each mini-batch", xlabel="step of the last training")
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None})
    svg = target.getvalue()
    return svg[svg.index("<svg") :]


def _epoch_table(epochs: Iterable[EpochResult]) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    return _table(("epoch", "loss", "accuracy", "validation loss", "validation accuracy", "images",
                   "cycles", "saturations", "clipped weights", "seconds"),
                  [(e.epoch, number(e.loss), number(e.accuracy), number(e.val_loss),
                    number(e.val_accuracy), e.images, e.cycles or "", e.saturations,
                    ", ".join(f"{count} of {name}" for name, count in e.clipped.items()) or 0,
                    f"{e.seconds:.2f}") for e in epochs])


def _tensors(epochs: Sequence[EpochResult]) -> str:
    """Return a table: range after the last epoch and saturations of all epochs, by tensor."""
    last = epochs[-1].tensors if epochs else {}
    if not last:
        return "<p>Nothing was measured yet.</p>"
    rows = []
    for name, stats in last.items():
        total = sum(e.tensors.get(name, {}).get("saturations", 0) for e in epochs)
        rows.append((name, f"2^{stats['range']}", stats["saturations"], total))
    return ("<p>y: output of a layer, dy: its gradient, w: weights. The largest magnitude of the "
            "last steps is below the range.</p>" + _table(
                ("tensor", "range", "saturations, last epoch", "saturations, all epochs"), rows))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(tag: str, cells: Iterable[object]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    top = line("th", head) if any(head) else ""
    return "<table>" + top + "".join(line("td", row) for row in rows) + "</table>"
