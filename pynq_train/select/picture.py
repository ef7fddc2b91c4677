"""Picture of a simulation: how regret grows, and how near the oracle each policy comes."""

from __future__ import annotations

import os

import numpy as np

from pynq_train.errors import MissingTool
from pynq_train.files.picture import save_picture
from pynq_train.select.simulation import Result

_COLOURS = ("#1f6f8b", "#b0b0b0", "#e3a857", "#a8481d")


def need_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        MissingTool: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingTool("selections are drawn by matplotlib", expected="matplotlib",
                          found="none", fix="run: pip install matplotlib") from None


def draw_simulation(path: str | os.PathLike[str], result: Result) -> None:
    """Draw the best row of each policy as PNG: regret, and share of the oracle's QoE.

    Args:
        path: the file.
        result: the simulation.

    Raises:
        MissingTool: matplotlib is not installed.
        BadInput: the file cannot be written.
    """
    need_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (growth, shares) = pyplot.subplots(1, 2, figsize=(10, 4))
    points = np.array(result.points)
    middles = np.sqrt(points[1:] * points[:-1])
    best = np.diff(result.oracle.mean(axis=0))
    kinds = dict.fromkeys(row.kind for row in result.rows)
    for kind, colour in zip(kinds, _COLOURS):
        row = result.best(kind)
        regret = row.regret.mean(axis=0)
        growth.loglog(points, regret, color=colour,
                      label=f"{row.label}, exponent {result.exponent(row):.2f}")
        shares.semilogx(middles, 100 * (1 - np.diff(regret) / best), color=colour)
    growth.set_xlabel("rounds")
    growth.set_ylabel("regret per device (simulated QoE)")
    growth.legend(fontsize=7)
    shares.set_xlabel("rounds")
    shares.set_ylabel("QoE, % of the oracle's (simulated)")
    for axes in (growth, shares):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{result.devices} devices, {len(result.arms)} arms, {result.seeds} seeds",
                    fontsize=10)
    save_picture(pyplot, figure, path)
