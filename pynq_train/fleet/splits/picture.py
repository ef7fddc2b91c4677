"""Picture of splits: how long each board computes, each processor and link works, and its energy.
"""

from __future__ import annotations

from pathlib import Path

from pynq_train.errors import MissingTool
from pynq_train.files.picture import save_picture
from pynq_train.fleet.splits.report import Report

_COMPUTE, _HOST, _LINK, _ENERGY = "#1f6f8b", "#e3a857", "#b0b0b0", "#a8481d"


def need_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises:
        MissingTool: it is not.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingTool("splits are drawn by matplotlib", expected="matplotlib", found="none",
                          fix="run: pip install matplotlib") from None


def draw_splits(path: Path, report: Report) -> None:
    """Draw stage times, link times and energy per device of every split as PNG.

    Args:
        path: the file.
        report: the splits.

    Raises:
        MissingTool: matplotlib is not installed.
        BadInput: the file cannot be written.
    """
    need_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [row for row in report.rows if row.split is not None]
    setting = report.searcher.setting
    stages = [(row, at) for row in shown if row.split for at in range(len(row.split.stages))]
    figure, (times, energies) = pyplot.subplots(
        1, 2, figsize=(11, 1.6 + 0.34 * (len(stages) + len(shown))), sharey=True)
    places, labels, place = [], [], 0.0
    for row in shown:
        assert row.split is not None
        for at, (stage, joules) in enumerate(zip(row.split.stages, row.split.device_j)):
            host, wire = stage.host_s(setting), setting.wire_busy_s(stage.in_bytes)
            times.barh(place, 1e3 * stage.compute_s, 0.8, color=_COMPUTE)
            times.barh(place, 1e3 * host, 0.8, left=1e3 * stage.compute_s, color=_HOST)
            if at:
                times.barh(place - 0.5, 1e3 * wire, 0.25, color=_LINK)
            energies.barh(place, 1e3 * joules, 0.8, color=_ENERGY)
            places.append(place)
            ways = f"{stage.ways} x " if stage.ways > 1 else ""
            labels.append(f"{row.label}: {ways}{stage.name}" if at == 0 else f"{ways}{stage.name}")
            place += 1
        times.plot([1e3 * row.split.period_s] * 2,
                   [place - len(row.split.stages) - 0.5, place - 0.5], "k-", linewidth=1)
        place += 0.6
    times.set_yticks(places, labels, fontsize=7)
    times.invert_yaxis()
    times.set_xlabel("milliseconds a frame: computing (predicted), host and link (given)")
    energies.set_xlabel("millijoules per device and image (estimated)")
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=colour) for colour in (_COMPUTE, _HOST, _LINK)]
    times.legend(handles, ["computing", "host", "link"], fontsize=7, loc="lower right")
    for axes in (times, energies):
        axes.grid(alpha=0.3, axis="x")
    figure.suptitle(f"{report.net} on {len(report.searcher.boards)} boards; black line: period",
                    fontsize=10)
    save_picture(pyplot, figure, path)
