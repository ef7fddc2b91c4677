"""Ranges and saturations of every tensor, by name, for people."""

from __future__ import annotations

from collections.abc import Mapping

from pynq_train.layers import nodes
from pynq_train.quant import ExponentPolicy
from pynq_train.schedule.plan import Plan

TensorStats = dict[str, dict[str, int]]


def tensor_stats(plan: Plan, policy: ExponentPolicy,
                 saturations: Mapping[str, int]) -> TensorStats:
    """Return range and saturations by tensor: ``conv1.y``, ``conv1.dy``, ``conv1.w``.

    A range ``k`` says that the largest magnitude of the last steps is below ``2**k``.

    Args:
        plan: the network.
        policy: its measured ranges.
        saturations: saturated elements as the records name them, ``<layer>.dx`` for the gradient
            of the layer's input.
    """
    result: TensorStats = {}
    names = [spec.name for spec in plan.specs]
    written = {step.target: f"{names[step.layer]}.dx" for step in plan.backward_graph.nodes
               if step.kind == nodes.BACKWARD}
    for index, name in enumerate(names):
        # A gradient is written by the backward pass of the layer behind it, whose record counts it
        # under that layer's name.
        gradient = written.get(f"{name}.dy", f"{name}.dy")
        tensors = [
            (f"{name}.y", policy.feature[index], saturations.get(f"{name}.y", 0)),
            (f"{name}.dy", policy.gradient[index], saturations.get(gradient, 0))]
        if plan.specs[index].on_array:
            tensors.append((f"{name}.w", [policy.weight_k[index]],
                            saturations.get(f"{name}.w", 0)))
        for tensor, history, count in tensors:
            if history:
                result[tensor] = {"range": max(history), "saturations": count}
    return result
