"""What rungs need on the board at least so many times less: reference networks, predicted."""

from __future__ import annotations

import pytest

import pynq_train as pt
from pynq_train.adaptation import course_of
from pynq_train.schedule.memory_use import training_memory

pytestmark = pytest.mark.medium
BATCH, SAMPLES, EPOCHS = 8, 50, 20
STEPS = EPOCHS * (SAMPLES // BATCH)
EVERYTHING = {"resnet20": (15_879_232, 6_145_389), "mobilenet_v1_025": (8_483_392, 2_675_962)}
"""Bytes and cycles of a step that trains everything, with a place for each map: bytes of tensors
beside those of an inference whose maps take turns."""


@pytest.mark.parametrize("network", EVERYTHING)
@pytest.mark.parametrize("rung", ["last-layer", "skip-lora", "da3"])
def test_a_rung_saves(network: str, rung: str) -> None:
    nbytes, cycles = EVERYTHING[network]
    learner = pt.Learner(network, batch=BATCH, trainable=rung)
    plan = learner.plan
    if rung == "da3":
        assert cycles >= 2 * course_of(plan, SAMPLES, STEPS).step_cycles
    else:
        whole, plan = course_of(plan, SAMPLES, STEPS), learner.plan_cache()
        cached = course_of(plan, SAMPLES, STEPS)
        assert whole.cycles >= 10 * cached.cycles and cached.fills == 7
    use = training_memory(plan)
    more = use.turns.tensors - use.inference.tensors + SAMPLES * plan.cache_bytes
    assert nbytes >= 19 * more > 0
