"""Geometry of descriptors that tests make by hand: what their schedule fields do, as tensors.

Golden reads geometry alone. Where a test draws the fields that the hardware obeys, this says the
same in geometry; of scheduled programs the lowering says it, independently.
"""

from __future__ import annotations

import struct

from pynq_train.hw.commands import Opcode
from pynq_train.hw.norm import BACK, GROUPED, NormProgram
from pynq_train.hw.words import WORD_BYTES

Fields = dict[str, int]


def described(d: Fields) -> Fields:
    """Fields ``d`` with geometry; what ``d`` has of it stays."""
    opcode = Opcode(d["pre.opcode"])
    if opcode == Opcode.FENCE:
        return d
    common = {"gc.first": 0,
              "gc.entry": d.get("pre.param", 0), "gc.record": d.get("pre.rec_off", 0)}
    own = {Opcode.VECTOR: _vector, Opcode.NORM: _norm, Opcode.POOL: _pool,
           Opcode.SOFTMAX: _loss, Opcode.UPDATE: _update, Opcode.GRADIENT: _update,
           Opcode.CONV: _conv}[opcode](d)
    found = {**common, **own}
    return {**d, **{name: value for name, value in found.items() if name not in d}}


def _same(d: Fields, prefix: str, names: dict[str, str]) -> Fields:
    return {to: d.get(f"{prefix}.{name}", 0) for name, to in names.items()}


def _vector(d: Fields) -> Fields:
    images, blocks, words = (d[f"v.v_{name}"] for name in ("images", "blocks", "words"))
    step, row = d.get("v.v_step", 0), -(-words // 16)
    dense, first = 0, 0
    if d.get("v.v_drop"):
        dense = int(images == 1 and d["v.d_step"] == blocks and blocks > 1)
        whole = blocks if dense else blocks * words
        first, rest = divmod(d["v.d_first"], whole)
        assert not rest, "a dropout begins with an image"
    modes = {"v_b": "has_b", "v_spread": "spread", "v_reduce": "reduce", "v_write": "write",
             "v_sums": "has_sums", "v_square": "square", "v_table": "a_table",
             "v_btable": "b_table", "v_relu": "relu", "v_clip": "clip", "v_flags": "flags",
             "v_mask_a": "mask_a", "v_mask_b": "mask_b", "v_drop": "drop", "d_least": "least",
             "d_tensor": "tensor", "k_off": "coefs", "s_off": "sums", "v_factor": "factor",
             "k_log": "segments", "v_lanes": "lanes"}
    found = _same(d, "v", {name: f"gv.{to}" for name, to in modes.items()})
    count = words if dense else images
    found.update({"gc.first": first, "gc.count": count, "gc.batch": first + count,
                  "gv.pixels": 1 if dense else words, "gv.blocks": blocks, "gv.dense": dense})
    plane = WORD_BYTES * words
    one = {"b": d.get("v.v_spread", 0), "y": d.get("v.v_reduce", 0)}
    for name, field in (("a", "a_off"), ("b", "b_off"), ("y", "v_off"), ("m", "m_off")):
        image, block = (WORD_BYTES, plane) if dense else (step, plane)
        if one.get(name):  # one word of each plane, [block][image]
            image, block = (0, WORD_BYTES) if dense else (WORD_BYTES, WORD_BYTES * images)
        if name == "m":
            image, block = WORD_BYTES * row * blocks * (not dense), WORD_BYTES * row
        at = d.get(f"v.{field}", 0) - first * image
        used = {"a": True, "b": d.get("v.v_b"), "y": d.get("v.v_write"),
                "m": d.get("v.v_flags") or d.get("v.v_mask_a") or d.get("v.v_mask_b")}[name]
        assert at >= 0 or not used, "image 0 of a map stands in front of the arena"
        found.update({f"gv.{name}": max(at, 0), f"gv.{name}_image": image,
                      f"gv.{name}_block": block})
    return found


def _norm(d: Fields) -> Fields:
    program = NormProgram(d["n.n_program"])
    elements = round(1 / (d["n.n_mean_m"] * 2.0 ** d["n.n_mean_e"]))
    (eps,) = struct.unpack("<Q", struct.pack("<d", d["n.n_eps_m"] * 2.0 ** d["n.n_eps_e"]))
    names = {"s_off": "sums", "n_step": "part_bytes", "n_parts": "parts", "n_blocks": "blocks",
             "p_off": "gamma", "d_off": "d_gamma", "r_off": "running", "q_off": "kept",
             "k_off": "coefs"}
    group = d.get("n.n_join", 0) + 1 if program in GROUPED else 0
    return {**_same(d, "n", {name: f"gn.{to}" for name, to in names.items()}), "gn.group": group,
            "gn.beta": d["n.p_off"] + d["n.p_step"], "gn.d_beta": d["n.d_off"] + d["n.p_step"],
            "gn.pixels": elements // max(group, 1), "gc.count": 1, "gc.batch": 1, "gn.eps": eps,
            "gn.back": int(program in BACK),
            "gn.frozen": int(program in (NormProgram.FORWARD_FROZEN,
                                         NormProgram.BACKWARD_FROZEN))}


def _pool(d: Fields) -> Fields:
    names = {"p_rows": "rows", "p_cols": "cols", "q_rows": "q_rows", "q_cols": "q_cols",
             "p_blocks": "blocks", "p_kernel": "kernel", "p_stride": "stride", "p_top": "top",
             "p_left": "left", "p_back": "back", "p_argmax": "keep"}
    found = _same(d, "p", {name: f"gp.{to}" for name, to in names.items()})
    for name in ("kernel", "stride"):
        found[f"gp.{name}_wider"] = d[f"p.p_{name}_cols"] - d[f"p.p_{name}"]
    large, small = ("o", "i") if d["p.p_back"] else ("i", "o")
    for name, key in (("map", large), ("pooled", small), ("argmax", "w")):
        found.update({f"gp.{name}": d.get(f"p.{key}_off", 0),
                      f"gp.{name}_image": d[f"p.{key}_step"],
                      f"gp.{name}_block": WORD_BYTES * d[f"p.{key}_words"]
                      // max(d["p.p_blocks"], 1)})
    return {**found, "gc.count": d["p.p_images"], "gc.batch": d["p.p_images"]}


def _loss(d: Fields) -> Fields:
    names = {"logit_off": "gf.logits", "label_off": "gf.labels", "dlogit_off": "gf.gradient",
             "f_classes": "gf.classes", "f_grad": "gf.grad", "f_mse": "gf.mse",
             "f_batch": "gc.count"}
    return {**_same(d, "f", names), "gc.batch": d["f.f_batch"]}


def _update(d: Fields) -> Fields:
    names = {"g_off": "sums", "wv_off": "masters", "w16_off": "copy", "u_count": "elements",
             "u_copy": "copies", "u_plain": "plain", "u_rows": "rows"}
    found = _same(d, "u", {name: f"gu.{to}" for name, to in names.items()})
    return {**found, **(_conv(d) if d["pre.opcode"] == Opcode.GRADIENT else {})}


def _conv(d: Fields) -> Fields:
    images = d.get("g.g_images", 0)
    return {"gc.count": images, "gc.batch": images}


def undescribed(d: Fields) -> Fields:
    """Fields ``d`` without geometry, so that :func:`described` says it anew."""
    return {name: value for name, value in d.items() if not name.startswith(("gc.", "gu.", "gv.",
                                                                            "gn.", "gp.", "gf."))}
