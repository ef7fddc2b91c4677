"""Trains a case on golden, step by step beside its float twin, and says what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from reference_models import float_twin as twin
from reference_models.twin_nets import Case

import pynq_train as pt
from pynq_train.graph import Graph, Model
from pynq_train.graph.params import LayerParams
from pynq_train.quant import StepExponents
from pynq_train.run.masters import Masters
from pynq_train.run.session import Session
from pynq_train.run.trainer import StepOutcome
from pynq_train.schedule.passes.batch_split import BatchSplit

_LARGEST = {"map": 0, "gradient": -8}
"""Largest exponents (docs/numerics.md, 2)."""
_FEW, _MANY = 4, 24
"""Noises at first, and where something is off with those: rare turns of a ReLU need more."""


@dataclass(frozen=True)
class Said:
    """One comparison: what was compared, its excess (1 is the most), and its power.

    ``power``: tolerance in terms of the change; None where it says nothing.
    """

    what: str
    excess: float
    power: float | None = None


def _noises(count: int) -> list[twin.Noise | None]:
    """Return no noise, and ``count`` different ones."""
    return [None, *(twin.Noise(number) for number in range(count))]


class TwinRun:
    """A case on golden and its twin.

    Args:
        case: the case.
        patch: forces parts of the mini-batch.
    """

    def __init__(self, case: Case, patch: pytest.MonkeyPatch) -> None:
        self.case = case
        if case.split is not None:
            parts = min(case.split, case.batch)
            patch.setattr("pynq_train.schedule.plan.choose_split", lambda specs, *_: BatchSplit(
                (parts,) * len(specs), (parts,) * len(specs), (parts,) * len(specs)))
        self.optimizer = pt.SGD(case.lr, momentum=case.momentum, weight_decay=case.decay,
                                schedule="constant", warmup_steps=0, layer_lr=case.layer_lr,
                                clip=case.clip, nesterov=case.nesterov)
        self.images, self.labels = case.images()
        self.loss = twin.Loss(case.loss == "mse", case.smoothing, case.valid)
        self.trained = self._trained()
        graph = case.graph
        active = twin.gradient_makers(graph, self.trained)
        self.active = active
        norms = {op.name for op in graph.ops if isinstance(op, pt.graph.BatchNorm)}
        self.network = twin.Network(graph, frozenset(norms - active), case.seed)
        learner = pt.Learner(Model(graph, self._start()), optimizer=self.optimizer,
                             batch=case.batch, seed=case.seed, loss=case.loss,
                             label_smoothing=case.smoothing, accumulate=case.accumulate,
                             trainable=case.trainable)
        session = learner._open()
        assert isinstance(session, Session)
        self.session = session
        self.fold = self._fold()

    def _trained(self) -> frozenset[str]:
        """Return the names of the parameters that learn."""
        if self.case.trainable != "all":
            chosen = self.case.trainable
            return frozenset((chosen,) if isinstance(chosen, str) else chosen)
        return frozenset(f"{name}.{part}" for name in self.case.parameters()
                         for part in ("weight", "bias"))

    def _start(self) -> dict[str, LayerParams]:
        """Return start parameters with running statistics somewhat off those of the images."""
        draw = np.random.default_rng((5, self.case.seed))
        params = self.case.parameters()
        graph = self.case.graph
        thawed = Graph.build(graph.input_shape, [
            replace(op, frozen=False) if isinstance(op, pt.graph.BatchNorm) else op
            for op in graph.ops], graph.name)
        made = twin.Network(thawed, frozenset(), self.case.seed).run(
            params, self.images, self.labels, self.loss, 0)
        for name, (mean, variance) in made.batch.items():
            noise = draw.standard_normal((2, len(mean)))
            params[name] = replace(
                params[name],
                mean=(mean + 0.3 * np.sqrt(variance) * noise[0]).astype(np.float32),
                variance=(variance * np.exp(0.3 * noise[1]) + 1e-7).astype(np.float32))
        return params

    def _fold(self) -> float:
        """Return what a momentum lacks: means whose count is no power of two (numerics, 4, 5)."""
        def rest(count: int) -> float:
            return float(2 ** (count.bit_length() - 1) / count)

        case = self.case
        classes = case.graph.classes if case.loss == "mse" else 1
        return rest(case.batch) * rest(classes) * rest(case.accumulate)

    # -- the steps -------------------------------------------------------------------------------

    def run(self) -> Iterator[Said]:
        """Train; yield every comparison."""
        case, session = self.case, self.session
        session.policy.input_k = int(np.frexp(np.abs(self.images).max())[1]) + 1
        session.calibrate(self.images, self.labels)
        used = session.policy.exponents(case.batch)
        # A calibration has the dropouts of step 0 and seed 0, and all images count.
        params = self._operands(self._state(session.read_masters()).params, used)
        seen = {-1: twin.least([replace(self.network, seed=0).run(
            params, self._codes_of(self.images), self.labels, replace(self.loss, valid=None), 0,
            self._codes(used), noise).peaks for noise in _noises(_FEW)])}
        lr = self._rate()
        draw = np.random.default_rng((6, case.seed))
        names = [layer.name for layer in session.plan.layers]
        for step in range(case.steps):
            images = (self.images * (1 + 0.05 * draw.standard_normal(self.images.shape))
                      ).astype(np.float32)
            before = session.read_masters()
            used = session.policy.exponents(case.batch)
            sgd = replace(self.optimizer.at(step, case.steps, names, case.accumulate), lr=lr,
                          seed=case.seed, step=step, valid=case.valid)
            outcome = session.train_step(images, self.labels, sgd)
            yield from self._ranges(step, used, seen)
            yield from self._step(step, images, before, used, outcome, lr, seen)
        yield from self._evaluation()

    def _rate(self) -> float:
        """Return the rate: that of the case, or less, so that no parameter moves by a tenth."""
        case, params = self.case, self._state(self.session.read_masters()).params
        grads = self.network.run(params, self.images, self.labels, self.loss, 0).grads
        rate = case.lr
        for name in self.trained:
            layer, label = name.rsplit(".", 1)
            value = getattr(params[layer], label)
            if value is None:
                continue
            moves = float(np.abs(getattr(grads[layer], label)).max()) * case.layer_lr.get(name, 1.0)
            rate = min(rate, 0.02 * float(np.abs(value).max()) / max(moves, 1e-30))
        return rate

    def _ranges(self, step: int, used: StepExponents, seen: dict[int, twin.Peaks]
                ) -> Iterator[Said]:
        """Check that every exponent holds twice the largest value that steps so far had."""
        codes = self._codes(used)
        last = self.case.graph.ops[-1].name
        for what, exponents, peaks in (
                ("map", codes.maps, [one.maps for one in seen.values()]),
                ("gradient", codes.gradients, [one.gradients for one in seen.values()])):
            for name, exponent in exponents.items():
                peak = max(one[name] for one in peaks)
                most = _LARGEST[what]  # above it there is no exponent
                if name == last or exponent >= most or peak == 0:
                    continue
                # A tenth for the rounding of what the twin does not round.
                yield Said(f"step {step}: range of the {what} of {name}",
                           0.9 * peak / 2.0**(exponent + 14))

    def _step(self, step: int, images: np.ndarray, before: dict[str, Masters],
              used: StepExponents, outcome: StepOutcome, lr: float, seen: dict[int, twin.Peaks]
              ) -> Iterator[Said]:
        case, loss = self.case, outcome.loss_sum
        state = self._state(before)
        found_logits = self._logits(used)
        after = self.session.read_masters()
        yield from self._untouched(step, before, after)
        found = self._state(after)
        operands = self._operands(state.params, used)
        codes = self._codes(used)
        scale = 1.0 if case.clip is None else self._clip_scale(used)
        update = twin.Update(lr, case.momentum, case.decay, case.nesterov, case.layer_lr,
                             self.trained, case.accumulate, step % case.accumulate, scale)
        images = self._codes_of(images)

        def compare(count: int) -> list[Said]:
            plain, *noisy = [self.network.run(operands, images, self.labels, self.loss, step,
                                              codes, noise) for noise in _noises(count)]
            wanted = update.apply(case.graph, state, plain)
            seen[step] = twin.least([plain.peaks, *(one.peaks for one in noisy)])
            if outcome.saturations and self._outgrown(codes, plain.peaks):
                # What follows a value that was cut is smaller than the twin's: no range to keep.
                del seen[step]
                return [Said(f"step {step}: not compared", 0.0)]
            behind = [update.apply(case.graph, state, one) for one in noisy]
            said = [self._off(f"step {step}: logits", found_logits, plain.logits, None,
                              [one.logits for one in noisy], 2.0**used.logits),
                    self._off(f"step {step}: loss", np.array([loss]), np.array([plain.loss]), None,
                              [np.array([one.loss]) for one in noisy], 1e-4 * case.batch)]
            return said + list(self._parameters(step, lr, codes, state, found, wanted, behind))

        said = compare(_FEW)
        yield from said if max(one.excess for one in said) <= 1 else compare(_MANY)

    def _evaluation(self) -> Iterator[Said]:
        """Compare the logits of an evaluation: running statistics, no dropout."""
        session, case = self.session, self.case
        used = session.policy.exponents(case.batch, training=False)
        valid = slice(0, case.valid)
        outcome, found = session.evaluate(self.images[valid], self.labels[valid])
        params = self._operands(self._state(session.read_masters()).params, used)
        images = self._codes_of(self.images)

        plain, *noisy = [
            self.network.run(params, images, self.labels, self.loss, 0, self._codes(used), noise,
                             training=False) for noise in _noises(_FEW)]
        if outcome.saturations and self._outgrown(self._codes(used), plain.peaks):
            yield Said("evaluation: not compared", 0.0)
            return
        yield self._off("evaluation: logits", found, plain.logits[valid], None,
                        [one.logits[valid] for one in noisy], 2.0**used.logits)

    @staticmethod
    def _outgrown(codes: twin.Codes, peaks: twin.Peaks) -> bool:
        """Return whether some value of the twin's is above what its codes hold."""
        return any(found[name] > 0.99 * 2.0**(exponent + 15)
                   for exponents, found in ((codes.maps, peaks.maps),
                                            (codes.gradients, peaks.gradients),
                                            (codes.factors, peaks.factors))
                   for name, exponent in exponents.items() if name in found)

    # -- comparisons -----------------------------------------------------------------------------

    @staticmethod
    def _off(what: str, found: np.ndarray, wanted: np.ndarray, before: np.ndarray | None,
             noisy: list[np.ndarray], floor: float, relative: float = twin.RELATIVE) -> Said:
        start = np.zeros_like(wanted) if before is None else before
        worst, power = twin.excess(found, wanted, start, noisy, floor, relative)
        return Said(what, worst, power)

    def _parameters(self, step: int, lr: float, codes: twin.Codes, before: twin.State,
                    found: twin.State, wanted: twin.State, noisy: list[twin.State]
                    ) -> Iterator[Said]:
        case = self.case
        for name, own in wanted.params.items():
            for label in ("weight", "bias", "mean", "variance"):
                here = getattr(own, label)
                if here is None:
                    continue
                learned = label in ("weight", "bias")
                if learned and f"{name}.{label}" not in self.trained:
                    continue
                old = getattr(before.params[name], label)
                momentum_off, relative = 2 * twin.MOMENTUM, twin.RELATIVE
                if learned:
                    # Decay has 20 fraction bits; the momentum's rounding goes on with the rate.
                    momentum_off += 2.0**-20 * float(np.abs(old).max()) * (case.decay > 0)
                    if name in self._norms:  # gradients are cut to codes of the map's gradient
                        momentum_off += 2.0 ** codes.gradients[name]
                    floor = 2 * twin.MASTER + momentum_off * lr * case.layer_lr.get(
                        f"{name}.{label}", 1.0)
                else:
                    floor = 2.0**-22 * float(np.abs(old).max() + np.abs(here).max())
                    relative += 2.0**-17 / self._norms[name].momentum
                yield self._off(f"step {step}: {name}.{label}", getattr(found.params[name], label),
                                here, old, [getattr(one.params[name], label) for one in noisy],
                                floor, relative)
                if learned and (label == "bias" or self.session.plan.momentum or
                                name in self._norms):
                    yield self._off(
                        f"step {step}: momentum of {name}.{label}",
                        getattr(found.speed[name], label), getattr(wanted.speed[name], label),
                        getattr(before.speed[name], label),
                        [getattr(one.speed[name], label) for one in noisy], momentum_off)

    @property
    def _norms(self) -> dict[str, pt.graph.BatchNorm]:
        return {op.name: op for op in self.case.graph.ops if isinstance(op, pt.graph.BatchNorm)}

    def _untouched(self, step: int, before: dict[str, Masters], after: dict[str, Masters]
                   ) -> Iterator[Said]:
        """Compare what does not learn: not one bit may move."""
        moving = {op.name for op in self.case.graph.ops if isinstance(op, pt.graph.BatchNorm)
                  and not op.frozen} & self.active
        for name, old in before.items():
            new = after[name]
            for label in ("weight", "bias"):
                if f"{name}.{label}" not in self.trained and getattr(old, label) is not None:
                    same = np.array_equal(getattr(old, label), getattr(new, label))
                    yield Said(f"step {step}: {name}.{label} is frozen", 0.0 if same else np.inf)
            if old.mean is not None and name not in moving:
                same = np.array_equal(old.mean, new.mean) and np.array_equal(old.variance,
                                                                           new.variance)
                yield Said(f"step {step}: statistics of {name} rest", 0.0 if same else np.inf)

    # -- from fixed point to real numbers --------------------------------------------------------

    def _state(self, masters: dict[str, Masters]) -> twin.State:
        params, speed = {}, {}
        for name in self.case.parameters():
            own = masters[name]
            floats = own.params()
            params[name] = LayerParams(
                np.ldexp(own.weight.astype(np.float64), -28),
                None if own.bias is None else np.ldexp(own.bias.astype(np.float64), -28),
                floats.mean, floats.variance)
            speed[name] = LayerParams(
                np.ldexp(own.weight_momentum.astype(np.float64), -24) * self.fold,
                None if own.bias_momentum is None
                else np.ldexp(own.bias_momentum.astype(np.float64), -24) * self.fold)
        return twin.State(params, speed)

    def _operands(self, params: twin.Params, used: StepExponents) -> dict[str, LayerParams]:
        """Return what the array multiplies: 16-bit weights, biases as fine as its sums."""
        made = {}
        exponents = {spec.name: e for spec, e in zip(self.session.plan.specs, used.layers)}
        for name, own in params.items():
            weight, bias, e = own.weight, own.bias, exponents[name]
            if own.mean is None:
                codes = np.rint(np.ldexp(weight, -e.w))
                weight = np.ldexp(np.clip(codes, -32767, 32767), e.w)
                if bias is not None:
                    bias = np.ldexp(np.rint(np.ldexp(bias, -e.forward_sum)), e.forward_sum)
            made[name] = LayerParams(*(None if one is None else np.asarray(one, np.float32)
                                       for one in (weight, bias, own.mean, own.variance)))
        return made

    def _codes_of(self, images: np.ndarray) -> np.ndarray:
        exponent = self.session.policy.input_exponent
        return np.ldexp(np.rint(np.ldexp(images.astype(np.float64), -exponent)),
                        exponent).astype(np.float32)

    def _codes(self, used: StepExponents) -> twin.Codes:
        maps, gradients = {}, {}
        for spec, layer, own in zip(self.session.plan.specs, self.session.plan.layers,
                                    used.layers):
            if layer.name not in {op.name for op in self.case.graph.ops}:
                continue  # a copy for a concatenation
            maps[twin.rounded_at(self.case.graph, spec.name, len(layer.sources) > 1)] = own.y
            if own.dy:
                gradients[spec.name] = own.dy
        factors = {spec.name: own.w for spec, own in zip(self.session.plan.specs, used.layers)
                   if spec.name in self._norms}
        return twin.Codes(maps, gradients, used.gradients["dlogits"], factors)

    def _clip_scale(self, used: StepExponents) -> float:
        """Return what clipping multiplies gradients by (docs/training.md, "Clipping")."""
        assert self.case.clip is not None
        bound = 2.0 ** np.floor(np.log2(self.case.clip))
        ranges = [2.0 ** (e + 15) for name, e in used.gradients.items() if name != "dlogits"]
        return min(1.0, bound / max(ranges, default=bound))

    def _logits(self, used: StepExponents) -> np.ndarray:
        plan = self.session.plan
        blocks = -(-plan.classes // 4)
        raw = self.session._get("logits", np.int16).reshape(blocks, plan.batch, 4)
        wide = raw.transpose(1, 0, 2).reshape(plan.batch, -1)[:, :plan.classes]
        return np.ldexp(wide.astype(np.float64), used.logits)
