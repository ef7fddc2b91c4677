"""Picture of EF-Train and this engine on one network: time of every layer, pass by pass."""

from __future__ import annotations

from pathlib import Path

from pynq_train.bench.attribution import Share
from pynq_train.bench.roofline import need_matplotlib
from pynq_train.bench.versus import Cycles, Versus
from pynq_train.files.picture import save_picture

_NAMES = {Share.FP: "forward", Share.BP: "backward", Share.WU: "weight gradient",
          Share.UPDATE: "update", Share.OTHER: "softmax, start, end"}
_OURS = {Share.FP: "#1f6f8b", Share.BP: "#4fa3bd", Share.WU: "#a3d2e0", Share.UPDATE: "#606060",
         Share.OTHER: "#b0b0b0"}
_THEIRS = {Share.FP: "#a8481d", Share.BP: "#d97b3c", Share.WU: "#f2bd8c"}


def draw_versus(path: Path, found: Versus) -> None:
    """Draw milliseconds per image of every layer, EF-Train's bars beside this engine's, as PNG.

    Args:
        path: the file.
        found: the comparison.

    Raises:
        MissingTool: matplotlib is not installed.
        BadInput: the file cannot be written.
    """
    need_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    scale = 1 / (1e3 * found.board.clock_mhz * found.batch)
    figure, axes = pyplot.subplots(figsize=(max(8.0, 1.0 + 0.75 * len(found.rows)), 5.5))

    def bar(place: float, cycles: Cycles, colours: dict[Share, str]) -> None:
        bottom = 0.0
        for share, colour in colours.items():
            height = cycles.get(share, 0) * scale
            axes.bar(place, height, 0.38, bottom=bottom, color=colour)
            bottom += height

    for place, row in enumerate(found.rows):
        if row.theirs is not None:
            bar(place - 0.2, row.theirs, _THEIRS)
        bar(place + 0.2, row.ours, _OURS)
        if row.their_total:
            axes.annotate(f"{row.their_total / row.our_total:.1f}x",
                          (place, max(row.their_total, row.our_total) * scale),
                          textcoords="offset points", xytext=(0, 3), ha="center", fontsize=7)
    axes.set_xticks(range(len(found.rows)), [row.name for row in found.rows], rotation=45,
                    ha="right", fontsize=8)
    axes.set(ylabel="milliseconds per image",
             title=f"{found.net}, batch {found.batch}, {found.board.name}, "
             f"{found.board.clock_mhz:.0f} MHz, predicted\n"
             f"EF-Train {found.ef.design.dtype.name} {found.ef.ms_per_image:.3f} ms "
             f"({found.ef.design.multipliers} multipliers, convolutions), pynq_train "
             f"{found.ms_per_image:.3f} ms ({found.board.config.multipliers} multipliers)")
    axes.title.set_fontsize(10)
    axes.grid(alpha=0.3, axis="y")
    axes.legend(fontsize=8, handles=[
        Patch(color=colour, label=f"{who}: {_NAMES[share]}")
        for who, colours in (("EF-Train", _THEIRS), ("pynq_train", _OURS))
        for share, colour in colours.items()])
    save_picture(pyplot, figure, path)
