"""Values of the step block against the exponents of the tensors that each descriptor works on.

The hardware and golden obey the step block alike, so a wrong shift in it is no difference between
them. Here each value is checked from the other side: the geometry of a descriptor names layer and
node, their tensors have exponents, and value times 2**exponent must come out. ``docs/numerics.md``
is the source; nothing of ``quant/step.py``, which computes the values, is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pynq_train.errors import IllegalProgram
from pynq_train.hw.commands import PARAM_BYTES, Opcode, unpack_params
from pynq_train.hw.curves import Factor
from pynq_train.hw.geometry import Work
from pynq_train.layers.backward_graph import DLOGITS
from pynq_train.program.program import Fields
from pynq_train.quant import SgdStep, StepExponents
from pynq_train.schedule.plan import Plan

_MASTERS = -28
"""Exponent of masters, Q3.28."""
_MOMENTUM = -24
"""Exponent of momentum, Q7.24."""
_SLOPES, _TABLE_0 = 18, 21
"""Minus the exponent of slopes of a curve; the number of its table for maps of exponent 0."""
_NO_LIMIT = 32768
_LAST_SHIFT = 63
"""Largest right shift of a gradient sum."""


def check_step_block(plan: Plan, fields: Sequence[Fields], exponents: StepExponents,
                     sgd: SgdStep | None, block: bytes, moving: bool = True) -> None:
    """Check the entry that each descriptor of a program refers to.

    Args:
        plan: the plan.
        fields: fields of the program's descriptors.
        exponents: exponents of the step.
        sgd: the optimizer's values, None in an evaluation.
        block: bytes of the step block.
        moving: the running statistics move.

    Raises:
        IllegalProgram: a value is not that of its tensors; the text names descriptor and field.
    """
    checks = _Checks(plan, exponents, sgd, moving and sgd is not None)
    for number, sparse in enumerate(fields):
        opcode = Opcode(sparse["pre.opcode"])
        if opcode == Opcode.FENCE or sparse["gc.work"] == Work.BARRIER:
            continue
        at = PARAM_BYTES * sparse["gc.entry"]
        entry = unpack_params(opcode, block[at:at + PARAM_BYTES])
        layer = plan.layers[sparse["gc.layer"]].name
        _One(checks, sparse, entry, f"descriptor {number} ({opcode.name}, {layer})").check()


@dataclass(frozen=True)
class _Checks:
    """What all descriptors of a step have in common."""

    plan: Plan
    exponents: StepExponents
    sgd: SgdStep | None
    moving: bool

    def of_output(self, layer: int) -> int:
        """Return the exponent of a layer's output, -1: of the images."""
        if layer >= 0:
            return self.exponents.layers[layer].y
        first = next(at for at, one in enumerate(self.plan.layers) if -1 in one.sources)
        return self.exponents.layers[first].x

    def of_gradient(self, symbol: str) -> int:
        """Return the exponent of a gradient by its symbol."""
        if symbol == DLOGITS:
            return self.exponents.loss.gradient_exponent(self.plan.batch, self.exponents.logits)
        return self.exponents.gradients[symbol]

    def source(self, layer: int, which: int = 0) -> int:
        """Return the layer that a layer reads; an evaluation reads past dropouts."""
        wires = self.plan.sources if self.sgd is not None else self.plan.evaluation_sources
        return wires[layer][which]


@dataclass(frozen=True)
class _One:
    """One descriptor and its entry."""

    all: _Checks
    f: Fields
    entry: Fields
    label: str

    def check(self) -> None:
        """Check the entry; raises what :func:`check_step_block` does."""
        opcode, work = Opcode(self.f["pre.opcode"]), Work(self.f["gc.work"])
        if opcode == Opcode.CONV:
            self._convolution()
        elif opcode in (Opcode.GRADIENT, Opcode.UPDATE):
            self._update(work)
        elif opcode == Opcode.SOFTMAX:
            self._loss()
        elif opcode == Opcode.NORM:
            self._norm(work)
        elif work in (Work.STATISTICS, Work.GRADIENT_SUMS):
            return  # they read codes as they stand
        elif work == Work.NODE:
            self._node()
        else:
            self._forward()

    @property
    def _layer(self) -> int:
        return self.f["gc.layer"]

    def _require(self, name: str, expected: int, why: str) -> None:
        if self.entry[name] != expected:
            raise IllegalProgram(f"{self.label}: step-block entry {self.f['gc.entry']}, {name}",
                                 expected=f"{expected}, {why}", found=self.entry[name])

    def _near(self, name: str, expected: float, why: str) -> None:
        """Require an integer next to a real number."""
        if abs(self.entry[name] - expected) > 0.5 + abs(expected) * 2.0**-40:
            raise IllegalProgram(f"{self.label}: step-block entry {self.f['gc.entry']}, {name}",
                                 expected=f"{expected:.6g}, {why}", found=self.entry[name])

    def _limit(self, y: int) -> None:
        """Check the limit of an activation in units of its output."""
        top = self.all.plan.layers[self._layer].activation.top
        if top is not None:
            code = top * 2.0**-y
            if code < _NO_LIMIT - 1:
                self._near("limit", code, f"{top} at the output's exponent {y}")
            elif self.entry["limit"] < _NO_LIMIT - 1:
                self._require("limit", _NO_LIMIT, f"none at the output's exponent {y}")

    def _convolution(self) -> None:
        layer, e = self._layer, self.all.exponents.layers[self._layer]
        if self.f["gc.work"] == Work.FORWARD:
            x, y = self.all.of_output(self.all.source(layer)), self.all.of_output(layer)
            sums = x + e.w
            self._require("shift", y - sums, f"output {y} less input {x} and weights {e.w}")
            if self.f.get("g.g_bias"):
                self._require("bias_shift", _MASTERS - sums, f"masters {_MASTERS} less sums {sums}")
            self._limit(y)
            return
        node = next(node for node in self.all.plan.backward_graph.nodes
                    if node.layer == layer and node.kind.opcode == Opcode.CONV)
        dy = self.all.of_gradient(node.reads[0].tensor)
        dx = self.all.of_gradient(node.target)
        self._require("shift", max(dx - dy - e.w, 0),
                      f"gradient {dx} less gradient {dy} and weights {e.w}")

    def _update(self, work: Work) -> None:
        sgd, exponents, layer = self.all.sgd, self.all.exponents, self._layer
        assert sgd is not None
        one, e = self.all.plan.layers[layer], exponents.layers[layer]
        trained = self.all.plan.trainable[layer]
        if work == Work.BIAS_GRADIENT:
            # Scratch weights, whose gradient is zero, share the entry of the layer's weights.
            work = Work.WEIGHT_GRADIENT
        if work == Work.WEIGHT_GRADIENT and not trained.weights:
            for name, value in (("lr", 0), ("momentum", 1 << 16), ("decay", 0),
                                ("g_shift", _LAST_SHIFT)):
                self._require(name, value, "nothing moves")
            return
        ref = self.all.plan.backward_graph.of_layer[layer]
        dy = self.all.of_gradient(ref.tensor)
        sums = dy
        if work == Work.WEIGHT_GRADIENT:
            sums += self.all.of_output(self.all.source(layer))
            self._require("w_shift", e.w_next - _MASTERS,
                          f"weights {e.w_next} less masters {_MASTERS}")
        scale = sgd.parts.bit_length() - 1
        if sgd.clip is not None:
            # The largest gradient map that an array's pass writes may reach 2**clip.
            bounds = [own.dx + 15 for own in exponents.layers if own.dx]
            scale += max([0, *(bound - sgd.clip for bound in bounds)])
        self._require("g_shift", min(16 + _MOMENTUM - (sums - scale), _LAST_SHIFT),
                      f"Q7.24 less sums {sums}, scaled by 2**-{scale}")
        weights = work in (Work.WEIGHT_GRADIENT, Work.UPDATE_GAMMA)
        factors = sgd.factors[layer] if sgd.factors else (1.0, 1.0)
        fold = exponents.loss.fold(exponents.batch) * 2 ** (sgd.parts.bit_length() - 1) / sgd.parts
        last = sgd.part == sgd.parts - 1
        rate = sgd.lr * factors[0 if weights else 1] * fold if last else 0.0
        found = self.entry["lr"] * 2.0**-self.entry["lr_shift"] / 16
        if abs(found - rate) > rate * 2.0**-15 + 2.0**-51:
            what = "weights" if weights else "biases"
            raise IllegalProgram(f"{self.label}: learning rate of {what} of {one.name}",
                                 expected=f"{rate:.6g}", found=f"{found:.6g}")
        first = sgd.part == 0
        self._near("momentum", (sgd.momentum if first else 1.0) * 65536, "the momentum, Q0.16")
        decays = work == Work.WEIGHT_GRADIENT and first and not one.scale
        self._near("decay", sgd.decay / fold * 2**20 if decays else 0.0,
                   "the weight decay, Q0.20" if decays else "none of this")
        self._require("nesterov", int(sgd.nesterov), "as the optimizer says")

    def _loss(self) -> None:
        exponents, sgd = self.all.exponents, self.all.sgd
        self._require("z_shift", -exponents.logits, f"the logits' exponent {exponents.logits}")
        valid = self.f["gc.count"] if sgd is None or sgd.valid is None else sgd.valid
        self._require("valid", valid, "images that count")
        loss = exponents.loss
        if loss.mse:
            self._require("m_shift", max(exponents.logits, -14) - exponents.logits,
                          "the error's exponent less that of the logits")
        else:
            self._near("t_off", 65536 * loss.smoothing / loss.classes, "what is spread")
            self._require("t_drop", (loss.classes - 1) * self.entry["t_off"],
                          "what the label gives to the others")

    def _norm(self, work: Work) -> None:
        layer, e = self._layer, self.all.exponents.layers[self._layer]
        z = self.all.of_output(self.all.plan.sources[layer][0])
        self._require("z_exp", z, "the exponent of the map")
        norm = self.all.plan.layers[layer].norm
        assert norm is not None
        if work == Work.COEFFICIENTS:
            self._require("a_exp", e.w, "that of its coefficients")
            self._require("c_exp", z + self.entry["a_exp"], "that of map times coefficient")
            self._near("alpha", norm.momentum * 65536 if self.all.moving else 0.0,
                       "the momentum of the running statistics, Q0.16")
            return
        number = self.f["gc.node"]
        node = self.all.plan.backward_graph.nodes[number]
        g, total = self.all.of_gradient(node.reads[0].tensor), self.all.exponents.sums[number]
        self._require("g_exp", g, f"the exponent of {node.reads[0].tensor}")
        self._require("a_exp", total - g, f"sums {total} less gradient {g}")
        self._require("b_exp", total - z, f"sums {total} less map {z}")
        self._require("c_exp", total, "the sums")

    def _total(self, y: int) -> int:
        """Return the exponent of the sums in front of the shift to ``y``."""
        return y - self.entry["shift"]

    def _scale(self, name: str, exponent: int, total: int, what: str, times: float = 1.0) -> None:
        """Check the factor that takes a map of an exponent, times a number, to sums."""
        value = times * 2.0 ** (exponent - total)
        if exponent < total and times == 1.0:
            value = 0.0  # so fine a map does not count
        self._near(name, value, f"{what} {exponent} to sums {total}")

    def _curve(self, x: int, exponent: int, y: int) -> None:
        """Check table and shift of a curve, or its slopes, of a map of exponent ``x``.

        ``exponent``: of what is multiplied by the slopes; ``y``: of the result.
        """
        self._require("limit", x + _TABLE_0, f"the table for exponent {x}")
        self._require("shift", y - exponent + _SLOPES,
                      f"result {y} less {exponent} and slopes -{_SLOPES}")
        self._require("b_scale", 0, "map b is looked up alone")

    def _product(self, one: int, other: int, y: int) -> None:
        """Check the shift of the product of maps of two exponents to a result of exponent ``y``."""
        self._require("shift", y - one - other, f"result {y} less {one} and {other}")
        self._require("b_scale", 0, "map b is a factor alone")

    def _forward(self) -> None:
        layer = self._layer
        one, e = self.all.plan.layers[layer], self.all.exponents.layers[layer]
        x, y = self.all.of_output(self.all.source(layer)), self.all.of_output(layer)
        total = self._total(y)
        if self.f["pre.opcode"] == Opcode.POOL:
            self._require("shift", y - x, "input and output have one exponent")
            self._require("shift", 0, "maxima are copies")
            return
        if one.curve is not None:
            self._curve(x, x, y)
            return
        if one.kind.multiplies:
            self._product(x, self.all.of_output(self.all.source(layer, 1)), y)
            return
        self._limit(y)
        if one.kind.normalises:
            self._require("shift", y - x - e.w, f"output {y} less map {x} and coefficients {e.w}")
            total = x + e.w
        elif one.kind.reduces:
            pixels = one.in_shape[1] * one.in_shape[2]
            self._scale("a_scale", x, total, f"1 / {pixels} of map", 1 / pixels)
        elif one.drop is not None:
            drops = bool(self.f.get("gv.drop"))
            self._scale("a_scale", x, total, "kept of map",
                        1 / (1 - one.drop.rate) if drops else 1.0)
            if drops:
                assert self.all.sgd is not None
                self._require("drop_seed", self.all.sgd.seed % 2**32, "the training's seed")
                self._require("drop_step", self.all.sgd.step % 2**24, "the training's step")
        else:
            self._scale("a_scale", x, total, "map")
        if len(one.sources) > 1:
            second = self.all.of_output(self.all.source(layer, 1))
            self._scale("b_scale", second, total, "second map")

    def _node(self) -> None:
        graph, number = self.all.plan.backward_graph, self.f["gc.node"]
        node, one = graph.nodes[number], self.all.plan.layers[self._layer]
        reads = [self.all.of_gradient(ref.tensor) for ref in node.reads]
        y = self.all.of_gradient(node.target)
        total = self._total(y)
        if self.f["pre.opcode"] == Opcode.POOL:
            self._require("shift", y - reads[0], "gradients are only added")
        elif self.f.get("gv.a_table"):
            sums = self.all.exponents.sums[number]
            self._require("shift", y - sums, f"gradient {y} less sums {sums}")
        elif self.f.get("gv.factor") == Factor.PRODUCT:
            other = self.all.of_output(self.all.source(self._layer, 1 - node.input))
            self._product(reads[0], other, y)
        elif self.f.get("gv.factor") == Factor.SLOPE:
            self._curve(self.all.of_output(self.all.source(self._layer)), reads[0], y)
        elif self.f.get("gv.spread"):
            pixels = one.in_shape[1] * one.in_shape[2]
            self._scale("b_scale", reads[0], total, f"1 / {pixels} of gradient", 1 / pixels)
            self._require("a_scale", 0, "map a stands for nothing")
        elif one.drop is not None and not node.kind.of_output:
            self._scale("a_scale", reads[0], total, "kept of gradient", 1 / (1 - one.drop.rate))
        else:
            self._scale("a_scale", reads[0], total, node.reads[0].tensor)
            if self.f.get("gv.has_b"):
                self._scale("b_scale", reads[1], total, node.reads[1].tensor)
