"""Bins of the array's descriptors: shapes and options of convolutions, by pass."""

from __future__ import annotations

from collections.abc import Mapping

from pynq_train.check.bins import IMAGES, ON_OFF, PARTS, Axes, Bin, digits, of_images
from pynq_train.graph.windows import ONE
from pynq_train.hw.commands import LoadMode, Pass
from pynq_train.hw.geometry import Work
from pynq_train.hw.limits import MAX_KERNEL, MAX_STRIDE
from pynq_train.layers.fuse import FusedLayer
from pynq_train.program.activations import GEOMETRY

SLICES = ("whole", "first", "between", "last")
_SIDES = ("1", "2", "3", "more")
_PADDINGS = ("none", "below half", "half", "above half")
_MODES = tuple(mode.name.lower() for mode in LoadMode)
_MASTERS = ("momentum", "plain")
_WEIGHTS = ("learn", "of some channels", "with gaps", "averages", "copies")
_GROUPS = ("none", "1", "2", "4", "8", "16")
_GAPS = ("none", "read", "written", "both")
_RESULTS = ("gradient", "map", "map with bias")
"""What a backward pass computes: a gradient, or the output of a transposed layer."""
_ACTIVATIONS = {name.removeprefix("g.g_"): name for name in GEOMETRY.values()}
"""Fields of section g that make an activation, by their short names."""


def group_of(d: Mapping[str, int]) -> str:
    """Return the group of a convolution descriptor with fields ``d``: its pass."""
    return Pass(d["g.g_pass"]).name.lower()


def crosses() -> dict[str, dict[str, Axes]]:
    """Return the crosses that are counted in each pass, and the values of each of their axes."""
    return {kind.name.lower(): _crosses(kind) for kind in Pass}


def _crosses(kind: Pass) -> dict[str, Axes]:
    """Return the crosses of a pass."""
    found: dict[str, Axes] = {
        "rows: kernel x stride": (digits(MAX_KERNEL, 1), digits(MAX_STRIDE, 1)),
        "columns: kernel x stride": (_SIDES, digits(MAX_STRIDE, 1)),
        "kernel: rows x columns": (_SIDES, _SIDES),
        "stride: rows x columns": (digits(MAX_STRIDE, 1), digits(MAX_STRIDE, 1)),
        "above: padding x stride": (_PADDINGS, digits(MAX_STRIDE, 1)),
        "left: padding x stride": (_PADDINGS, digits(MAX_STRIDE, 1)),
        "rows of the map": (("1", "more"),),
        "out channels mod 16": (digits(16),),
        "in channels mod 16": (digits(16),),
        "out mod 4 x in mod 4": (digits(4), digits(4)),
        "tile pixels mod 3 x mod 4": (digits(3), digits(4)),
        "images per tile": (IMAGES,),
        "channels of a group": (_GROUPS,),
        "weights": (_WEIGHTS if kind != Pass.WEIGHT_GRADIENT else _WEIGHTS[:3],),
    }
    if kind == Pass.FORWARD:
        for name in _ACTIVATIONS:
            found[f"{name} x pool x bias"] = (ON_OFF, ON_OFF, ON_OFF)
            found[f"{name} x pool x groups"] = (ON_OFF, ON_OFF, ON_OFF)
        found["gaps between images"] = (_GAPS,)
    else:
        found["gradient operand"] = (_MODES,)
    if kind == Pass.WEIGHT_GRADIENT:
        found["gradient operand x bias"] = (_MODES, ON_OFF)
        found["slice x masters"] = (SLICES, _MASTERS)
    else:
        found["part of the mini-batch"] = (PARTS,)
    if kind == Pass.BACKWARD:
        found["result x rows of a stride"] = (_RESULTS, digits(MAX_STRIDE, 1))
        found["stride.phase"] = (tuple(
            f"{s}.{f}" for s in range(1, MAX_STRIDE + 1) for f in range(s)),)
    return found


def weights_of(layer: FusedLayer) -> str:
    """Return what the weights of a layer are."""
    if layer.average:
        return _WEIGHTS[3 if layer.copies is None else 4]
    if layer.dilation != ONE:
        return _WEIGHTS[2]
    return _WEIGHTS[0 if layer.reads is None else 1]


def values(d: Mapping[str, int], part: str, slice_: str, weights: str) -> dict[str, Bin]:
    """Return the bins of one convolution descriptor, by cross.

    Args:
        d: its fields.
        part: which part of the mini-batch it takes.
        slice_: which slice of its layer it is.
        weights: what its weights are, as :func:`weights_of` says.
    """
    kernel = d["g.g_kernel"], d["g.g_kernel"] + d["g.g_kernel_wider"]
    stride = d["g.g_stride"], d["g.g_stride"] + d["g.g_stride_wider"]
    pixels = d["pix.p0"] * d["pix.p1"] * d["pix.p2"]
    m, n = d["g.g_m"], d["g.g_n"]
    above, left = (_padding(d[f"g.g_pad_{name}"], size) for name, size
                   in zip(("top", "left"), kernel))
    mode = LoadMode(d["g.g_mode"]).name.lower()
    gaps = [d["g.g_images"] > 1 and d[f"g.g_{name}_strides0"] > -(-channels // 4) * d[
        f"g.g_{name}_strides1"] for name, channels in (("x", n), ("y", m))]
    return {
        "rows: kernel x stride": (str(kernel[0]), str(stride[0])),
        "columns: kernel x stride": (_side(kernel[1]), str(stride[1])),
        "kernel: rows x columns": (_side(kernel[0]), _side(kernel[1])),
        "stride: rows x columns": (str(stride[0]), str(stride[1])),
        "above: padding x stride": (above, str(stride[0])),
        "left: padding x stride": (left, str(stride[1])),
        "rows of the map": ("1" if d["g.g_in_rows"] == 1 else "more",),
        "out channels mod 16": (str(m % 16),),
        "in channels mod 16": (str(n % 16),),
        "out mod 4 x in mod 4": (str(m % 4), str(n % 4)),
        "tile pixels mod 3 x mod 4": (str(pixels % 3), str(pixels % 4)),
        "images per tile": (of_images(d["pix.p2"]),),
        **{f"{name} x pool x {other}": (str(d[field]), str(d["g.g_pool"]), str(int(value > 0)))
           for name, field in _ACTIVATIONS.items()
           for other, value in (("bias", d["g.g_bias"]), ("groups", d["g.g_group"]))},
        "gaps between images": (_GAPS[gaps[0] + 2 * gaps[1]],),
        "part of the mini-batch": (part,),
        "channels of a group": (str(d["g.g_group"] or "none"),),
        "weights": (weights,),
        "gradient operand": (mode,),
        "gradient operand x bias": (mode, str(d["g.g_bias"])),
        "slice x masters": (slice_, _MASTERS[d.get("u.u_plain", 0)]),
        "result x rows of a stride": (
            _RESULTS[(1 + d["g.g_bias"]) * (d["gc.work"] == Work.FORWARD)], str(stride[0])),
        "stride.phase": (f"{stride[0]}.{d['g.g_phase']}",),
    }


def _padding(pad: int, kernel: int) -> str:
    """Return how the zeros in front of an axis compare with half a kernel."""
    half = (kernel - 1) / 2
    if pad == 0:
        return "none"
    return "below half" if pad < int(half) else "above half" if pad > -int(-half // 1) else "half"


def _side(size: int) -> str:
    """Return the class of a kernel's rows or columns."""
    return str(size) if size < 4 else _SIDES[-1]
