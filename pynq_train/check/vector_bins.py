"""Bins of the vector, update and softmax unit's descriptors, by what they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pynq_train.check.bins import IMAGES, ON_OFF, PARTS, Axes, Bin, digits, of_images, part_of
from pynq_train.graph.ops import CURVES
from pynq_train.hw.norm import GROUPED, NormProgram
from pynq_train.hw.pool import ARGMAX_PIXELS
from pynq_train.hw.words import BURST_BEATS, CHANNELS_PER_WORD, FLAG_MASK_PIXELS, WORD_BYTES
from pynq_train.layers import kinds, nodes
from pynq_train.schedule.passes.descriptors import Descriptor, Role
from pynq_train.schedule.plan import Plan

UNITS = {Role.NORM_SUMS: "statistics", Role.NORM_COEFFICIENTS: "coefficients",
         Role.FORWARD_VECTOR: "point forward", Role.BACKWARD_SUMS: "gradient sums",
         Role.BACKWARD_NORM: "gradient coeff.", Role.BACKWARD_VECTOR: "node",
         Role.CONCAT_BARRIER: "barrier", Role.POOL: "pooling", Role.UNPOOL: "unpooling",
         Role.UPDATE_BIAS: "update", Role.UPDATE_GAMMA: "update", Role.SOFTMAX: "softmax"}
"""Groups of descriptors, as the table calls them."""
_MAPS = ("plain", "gaps", "dense")
_PLANES = ("1", "up to a burst", "longer")
_FLAG_ROWS = ("ragged", "whole", "whole and ragged")
_ACTIVATIONS = ("none", "relu", "clipped")
_FORWARD = {kinds.NORM: "norm", kinds.ADD: "add", kinds.MEAN: "mean", kinds.DROP: "drop",
            kinds.CURVE: "curve", kinds.PRODUCT: "product", kinds.SCALE: "scale",
            kinds.GROUP_NORM: "group norm"}
_NORM_AND_ADD = "norm and add"
_FROZEN = ("batch", "frozen", "group", "evaluation")
_GROUPS = ("one of a word", "two of a word", "a word", "words")
"""Channels that share statistics in each image."""
_WAYS = {"sum": ("none", "a", "b", "both"), "mask": ("none", "a"), "norm": ("none", "a"),
         "spread": ("none",), "drop": ("a",), "curve": ("none", "a"),
         "product": ("none", "a"), "factor": ("none", "a")}
"""Nodes of the backward graph, and which of the maps that each reads can have a mask."""
_WHOLE = ("mean", "spread", "scale", "factor")
"""What takes the whole mini-batch: means and vectors of channels, forward and backward."""
_FLAGLESS = (*_WHOLE, "curve", "product")
"""What has no activation behind it."""
_WINDOWS = tuple(f"{kernel}/{stride}" for kernel in (1, 2, 3) for stride in (1, 2, 3))


def crosses() -> dict[str, dict[str, Axes]]:
    """Return the crosses that are counted in each group, and the values of each of their axes."""
    shape: dict[str, Axes] = {
        "part of the mini-batch": (PARTS,), "images": (IMAGES,), "map": (_MAPS,),
        "words of a plane": (_PLANES,), "channel blocks": (IMAGES,),
        "channels mod 4": (digits(CHANNELS_PER_WORD),)}
    coefficients: dict[str, Axes] = {"channel blocks": (IMAGES,), "channels mod 4": (digits(4),)}
    pooled: dict[str, Axes] = {
        "rows: kernel / stride": (_WINDOWS,), "columns: kernel / stride": (_WINDOWS,),
        "kernel: rows x columns": (digits(3, 1), digits(3, 1)),
        "padding above x left": (ON_OFF, ON_OFF),
        "part of the mini-batch": (PARTS,), "channels mod 4": (digits(4),),
        "gaps read x written": (ON_OFF, ON_OFF),
        "last word of indices": (digits(ARGMAX_PIXELS, 1),)}
    ways = tuple(f"{node} {mask}" for node, masks in _WAYS.items() for mask in masks)
    forward = tuple(kind for kind in (*_FORWARD.values(), _NORM_AND_ADD)
                    if kind not in _FLAGLESS)
    return {
        "statistics": shape,
        "coefficients": {**coefficients, "program": (_FROZEN,), "parts added up": (IMAGES,),
                         "elements of a channel": (("1", "more"),),
                         "channels of a group": (_GROUPS,)},
        "point forward": {
            **shape, "kind x activation": (forward, _ACTIVATIONS),
            "kind x part": (forward, PARTS), "mean x part": (("mean",), ("whole",)),
            "scale x part": (("scale",), ("whole",)), "product x part": (("product",), PARTS),
            "curve x part": (("curve",), PARTS), "curve": (tuple(one.kind for one in CURVES),),
            "curve: last channels": (digits(CHANNELS_PER_WORD),),
            "kind x flags": (forward, ON_OFF), "flag row": (_FLAG_ROWS,)},
        "gradient sums": {**shape, "mask": (("none", "a"),)},
        "gradient coeff.": {**coefficients, "program": (_FROZEN[:3],),
                            "parts added up": (IMAGES,), "channels of a group": (_GROUPS,)},
        "node": {**shape, "masks": (ways,),
                 "kind x part": (tuple(way for way in _WAYS if way not in _WHOLE), PARTS),
                 "flag row": (_FLAG_ROWS,), "norm: table of B": (ON_OFF,),
                 "in place": (("no", "a"),), "groups x mask": (_GROUPS, ("none", "a"))},
        "barrier": {"descriptors": (("any",),)},
        "pooling": {**pooled, "indices kept": (ON_OFF,)},
        "unpooling": pooled,
        "update": {"of": (("bias", "gamma", "beta"),),
                   "count mod 16": (("0", "4", "8", "12"),)},
        "softmax": {"loss x gradient": (("cross-entropy", "squared error"), ON_OFF),
                    "classes mod 4": (digits(4),), "images": (IMAGES,)},
    }


@dataclass(frozen=True)
class _Seen:
    """One descriptor: its fields, what the scheduler knows of it, and the plan."""

    d: Mapping[str, int]
    descriptor: Descriptor
    plan: Plan
    training: bool

    def values(self) -> dict[str, Bin]:
        """Return its bins, by cross."""
        role = self.descriptor.role
        if role in (Role.NORM_COEFFICIENTS, Role.BACKWARD_NORM):
            return self._coefficients()
        if role in (Role.POOL, Role.UNPOOL):
            return self._pooled()
        if role in (Role.UPDATE_BIAS, Role.UPDATE_GAMMA):
            return self._update()
        if role == Role.SOFTMAX:
            return self._softmax()
        if role == Role.CONCAT_BARRIER:
            return {"descriptors": ("any",)}
        return self._vector()

    @property
    def _part(self) -> str:
        return part_of(self.descriptor, self.plan.batch)

    @property
    def _channels(self) -> tuple[str]:
        return (str(self.plan.specs[self.descriptor.layer].m % CHANNELS_PER_WORD),)

    def _vector(self) -> dict[str, Bin]:
        """Return the bins of a VECTOR descriptor that works on maps."""
        d, spec = self.d, self.plan.specs[self.descriptor.layer]
        words, blocks, images = d["v.v_words"], d["v.v_blocks"], d["v.v_images"]
        gaps = images > 1 and d["v.v_step"] > WORD_BYTES * words * blocks
        rest, whole = words % FLAG_MASK_PIXELS, words >= FLAG_MASK_PIXELS
        flagged = d["v.v_flags"] or d["v.v_mask_a"] or d["v.v_mask_b"]
        mask = ("none", "a", "b", "both")[d["v.v_mask_a"] + 2 * d["v.v_mask_b"]]
        found: dict[str, Bin] = {
            "part of the mini-batch": (self._part,), "images": (of_images(images),),
            "map": ("dense" if spec.dense else _MAPS[gaps],), "channels mod 4": self._channels,
            "words of a plane": (_PLANES[(words > 1) + (words > BURST_BEATS)],),
            "channel blocks": (of_images(blocks),), "mask": (mask,)}
        if flagged:
            found["flag row"] = (_FLAG_ROWS[2 if whole and rest else whole],)
        if self.descriptor.role == Role.FORWARD_VECTOR:
            both = spec.kind is kinds.NORM and d["v.v_b"]
            kind = _NORM_AND_ADD if both else _FORWARD[spec.kind]
            found.update({
                "kind x activation": (kind, _ACTIVATIONS[d["v.v_relu"] + d["v.v_clip"]]),
                "kind x part": (kind, self._part), "mean x part": (kind, self._part),
                "kind x flags": (kind, str(d["v.v_flags"]))})
            found.update({f"{name} x part": (kind, self._part) for name in ("scale", "product")})
            if spec.curve is not None:
                found.update({"curve x part": (kind, self._part), "curve": (spec.curve.kind,),
                              "curve: last channels": (str(d["v.v_lanes"]),)})
        if self.descriptor.role == Role.BACKWARD_VECTOR:
            node = self.plan.backward_graph.nodes[self.descriptor.node].kind
            found.update({"masks": (f"{node} {mask}",), "kind x part": (str(node), self._part),
                          "in place": (("no", "a")[d["v.v_off"] == d["v.a_off"]],)})
            if node is nodes.NORM:
                found["norm: table of B"] = (str(d["v.v_btable"]),)
                if spec.norm_group:
                    found["groups x mask"] = (self._group, mask)
        return found

    @property
    def _group(self) -> str:
        group = self.plan.specs[self.descriptor.layer].norm_group
        return _GROUPS[{1: 0, 2: 1, CHANNELS_PER_WORD: 2}.get(group, 3)]

    def _coefficients(self) -> dict[str, Bin]:
        """Return the bins of a NORM descriptor."""
        program = NormProgram(self.d["n.n_program"])
        frozen = program in (NormProgram.FORWARD_FROZEN, NormProgram.BACKWARD_FROZEN)
        grouped = {"channels of a group": (self._group,)} if program in GROUPED else {}
        return {"program": (_FROZEN[2 if grouped else 0 if not frozen else
                                    1 if self.training else 3],), **grouped,
                "parts added up": (of_images(self.d["n.n_parts"]),),
                "channel blocks": (of_images(self.d["n.n_blocks"]),),
                "channels mod 4": self._channels,
                "elements of a channel": ("more" if self.d["n.n_var_m"] else "1",)}

    def _pooled(self) -> dict[str, Bin]:
        """Return the bins of a POOL descriptor."""
        d = self.d
        gaps = [str(int(d["p.p_images"] > 1 and d[f"p.{which}_step"]
                        > WORD_BYTES * d[f"p.{which}_words"])) for which in "io"]
        last = (d["p.q_cols"] - 1) % ARGMAX_PIXELS + 1
        return {"rows: kernel / stride": (f"{d['p.p_kernel']}/{d['p.p_stride']}",),
                "columns: kernel / stride": (f"{d['p.p_kernel_cols']}/{d['p.p_stride_cols']}",),
                "kernel: rows x columns": (str(d["p.p_kernel"]), str(d["p.p_kernel_cols"])),
                "padding above x left": (str(d["p.p_top"]), str(d["p.p_left"])),
                "part of the mini-batch": (self._part,), "channels mod 4": self._channels,
                "gaps read x written": (gaps[0], gaps[1]), "last word of indices": (str(last),),
                "indices kept": (str(d["p.p_argmax"]),)}

    def _update(self) -> dict[str, Bin]:
        """Return the bins of an UPDATE descriptor."""
        norm = self.plan.specs[self.descriptor.layer].kind.has_running
        gamma = self.descriptor.role == Role.UPDATE_GAMMA
        return {"of": ("gamma" if gamma else "beta" if norm else "bias",),
                "count mod 16": (str(self.d["u.u_count"] % 16),)}

    def _softmax(self) -> dict[str, Bin]:
        """Return the bins of a SOFTMAX descriptor."""
        return {"loss x gradient": (("cross-entropy", "squared error")[self.d["f.f_mse"]],
                                    str(self.d["f.f_grad"])),
                "classes mod 4": (str(self.d["f.f_classes"] % 4),),
                "images": (of_images(self.d["f.f_batch"]),)}


def values(d: Mapping[str, int], descriptor: Descriptor, plan: Plan, training: bool
           ) -> dict[str, Bin]:
    """Return the bins of a descriptor of the vector, update or softmax unit, by cross.

    Args:
        d: its fields.
        descriptor: what it does.
        plan: the plan that it belongs to.
        training: it stands in a training step, not in an evaluation.
    """
    return _Seen(d, descriptor, plan, training).values()
