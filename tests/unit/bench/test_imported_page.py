"""The page of imported networks says what was measured, and a small one keeps its accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from reference_models.lazy import Lazy

import pynq_train as pt
from benchmarks import imported

torch, nn = Lazy("torch"), Lazy("torch.nn")


def test_the_page_is_that_of_the_stored_results() -> None:
    results = {name: imported.stored(name) for name in imported.TASKS}
    assert imported.PAGE.read_text(encoding="utf-8") == imported.page(results), (
        "docs/imported.md differs: run python -m benchmarks.imported")
    wanted = 1 + len(imported.KINDS) * len(imported.ORDERS)
    for name, found in results.items():
        assert len(found) == wanted and imported.worst(found) <= imported.BAR_POINTS, name


@pytest.mark.oracle
@pytest.mark.medium
def test_a_small_network_keeps_its_accuracy_in_every_order() -> None:
    """Values of 0..0.01, and a normalisation that PyTorch would fold: weights above 8."""
    draw = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = draw.integers(0, 90, (300, 8, 8)).astype(np.uint8)
    for at, label in enumerate(y):
        x[at, 3 * label : 3 * label + 2] += draw.integers(20, 100, dtype=np.uint8)
    task = imported.Task("none", "PyTorch", "from_torch", (0, 0.01))
    floats = imported.values(x, task)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
                        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 3))
    images, labels = torch.from_numpy(floats[:, None]), torch.from_numpy(y)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, 0.9)
    for _ in range(120):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()
        optimiser.step()
    net.eval()
    with torch.no_grad():
        original = float(np.mean(net(images).numpy().argmax(1) == y))
    model = pt.from_torch(net, images[:1], input_range=task.values)
    folded = pt.fold_batchnorm(model)
    assert original > 0.8 and folded.input_format.gain > 1
    for own in (model, folded):
        for convert in imported.KINDS.values():
            for arrange in imported.ORDERS.values():
                learner, given = pt.Learner(own, batch=50), convert(x, task)
                index = arrange(x, given, learner)
                found = learner.evaluate(given[index], y[index]).accuracy
                assert abs(found - original) <= 0.005
