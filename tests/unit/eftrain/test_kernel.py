"""The EF-Train kernel, compiled by g++, against float64 sums; planted errors in each pass."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import FIXED, FIXED_STEP, SMALL, draw, errors

from pynq_train.eftrain import ConvShape, EfPass, EfTile
from pynq_train.eftrain.chips import FP32, ZU9EG
from pynq_train.eftrain.csim import Kernel, build, default_source
from pynq_train.eftrain.csim.kernel import Work
from pynq_train.eftrain.csim.layout import (
    decode,
    encode,
    pack_map,
    pack_weights,
    unpack_map,
    unpack_weights,
)
from pynq_train.errors import BadInput, MissingTool, PynqTrainError

pytestmark = pytest.mark.medium

ROUNDING = {EfPass.FP: 2e-5, EfPass.BP: 2e-5, EfPass.WU: 2e-5}
"""Float32: up to 300 products of at most 1/4."""
FIXED_ROUNDING = dict.fromkeys(EfPass, 0.5 * FIXED_STEP + 1e-9)
"""Fixed point: sums are exact, one rounding at the end."""
WIDE = replace(SMALL, chip=ZU9EG, lanes=8)
"""Four numbers per beat."""


@pytest.fixture(scope="module")
def kernels() -> dict[str, Kernel]:
    return {"fp32": Kernel(SMALL), "fixed16": Kernel(FIXED), "wide": Kernel(WIDE)}


@pytest.mark.parametrize("name", ["fp32", "fixed16", "wide"])
def test_three_passes_on_random_layers(kernels: dict[str, Kernel], name: str,
                                       rng: np.random.Generator) -> None:
    bound = FIXED_ROUNDING if name == "fixed16" else ROUNDING
    for number in range(150):
        case = draw(rng)
        for kind, error in errors(kernels[name], case, rng).items():
            assert error <= bound[kind], f"case {number}, {kind.value}: {case.work}"


PLANTED = [
    ("weights of the input tile before", EfPass.FP, "ef_products.hpp",
     "weight_offset(n_tiles, tile, part + 1, taps)", "weight_offset(n_tiles, tile, part, taps)"),
    ("ReLU of negative numbers", EfPass.FP, "ef_products.hpp", "backward ? Mask : Relu",
     "backward ? Mask : 0"),
    ("kernel not turned", EfPass.BP, "ef_move.hpp", "turned ? taps - 1 - tap : tap", "tap"),
    ("channels not exchanged", EfPass.BP, "ef_move.hpp", "buffer[n][m][place]",
     "buffer[m][n][place]"),
    ("strided loss meets every pixel's first phase", EfPass.BP, "ef_array.hpp",
     "(stride - (place + stride) % stride) % stride", "0"),
    ("gradient of the last image only", EfPass.WU, "ef_update.hpp", "if (image == 0) {",
     "if (image >= 0) {"),
    ("loss of the tile before", EfPass.WU, "ef_update.hpp", "t.next_loss.row = after",
     "t.next_loss.row = row"),
]


@pytest.mark.parametrize(("what", "kind", "name", "old", "new"), PLANTED,
                         ids=[one[0].replace(" ", "-") for one in PLANTED])
def test_planted_error_is_caught(what: str, kind: EfPass, name: str, old: str, new: str,
                                 tmp_path: Path, rng: np.random.Generator) -> None:
    copy = tmp_path / "src"
    shutil.copytree(default_source(), copy)
    text = (copy / name).read_text()
    assert text.count(old) == 1, f"{name} no longer has {old!r} exactly once"
    (copy / name).write_text(text.replace(old, new))
    broken = Kernel(SMALL, library=build(SMALL, copy, tmp_path))
    worst = dict.fromkeys(EfPass, 0.0)
    for _ in range(60):
        for place, error in errors(broken, draw(rng), rng).items():
            worst[place] = max(worst[place], error)
    assert worst[kind] > 1e-2, f"{what}: nothing was noticed"
    assert all(worst[other] <= ROUNDING[other] for other in EfPass if other != kind), worst


def test_pooling(kernels: dict[str, Kernel], rng: np.random.Generator) -> None:
    for kernel in kernels.values():
        design = kernel.design
        for _ in range(10):
            b, n, h, w = (int(v) for v in rng.integers([1, 1, 2, 2], [4, 11, 9, 9]))
            x = np.asarray(rng.integers(-3, 4, (b, n, h, w)), np.float32)  # many equal numbers
            loss = np.asarray(rng.integers(-9, 10, (b, n, h // 2, w // 2)), np.float32)
            y, index = kernel.pool(pack_map(design, x))
            dx = unpack_map(design, kernel.unpool(pack_map(design, loss), index, h, w), n)
            tiles = x[:, :, : h // 2 * 2, : w // 2 * 2].reshape(b, n, h // 2, 2, w // 2, 2)
            flat = tiles.transpose(0, 1, 2, 4, 3, 5).reshape(b, n, h // 2, w // 2, 4)
            assert (unpack_map(design, y, n) == flat.max(axis=-1)).all()
            first = (np.arange(4) == flat.argmax(axis=-1)[..., None]) * loss[..., None]
            wanted = np.zeros_like(x)
            wanted[:, :, : h // 2 * 2, : w // 2 * 2] = first.reshape(
                b, n, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(
                b, n, h // 2 * 2, w // 2 * 2)
            assert (dx == wanted).all()


def test_layout_lies_in_bursts() -> None:
    x = np.arange(2 * 6 * 3 * 5, dtype=np.float32).reshape(2, 6, 3, 5)
    packed = pack_map(SMALL, x)
    assert packed.shape == (2, 2, 3, 5, 4) and packed.flags.c_contiguous
    assert packed[1, 1, 2, 3, 1] == x[1, 5, 2, 3] and (packed[:, 1, :, :, 2:] == 0).all()
    assert (unpack_map(SMALL, packed, 6) == x).all()
    w, bias = np.arange(5 * 6 * 9, dtype=np.float32).reshape(5, 6, 3, 3), np.arange(5.0)
    rows = pack_weights(SMALL, w, bias.astype(np.float32))
    tile, kr, kc, m, n = 2 * 1 + 0, 2, 1, 0, 3  # of 2 x 2 tiles
    assert rows[(((tile * 3 + kr) * 3 + kc) * 4 + m) * 4 + n] == w[4, 3, 2, 1]
    again = unpack_weights(SMALL, rows, (5, 6, 3, 3))
    assert (again[0] == w).all() and (again[1] == bias).all()


def test_fixed_point_rounds_and_saturates() -> None:
    values = np.array([0.5 * FIXED_STEP, -0.5 * FIXED_STEP, 40.0, -40.0, 1.0], np.float32)
    assert encode(FIXED, values).tolist() == [1, 0, 32767, -32768, 1024]
    assert decode(FIXED, encode(FIXED, values))[2:].tolist() == [32767 / 1024, -32.0, 1.0]


@pytest.mark.parametrize(("x", "w", "y"), [
    (30.0, 30.0, 32767 / 1024), (30.0, -30.0, -32.0), (4.0, -2.0, -32.0),
    (4.0, 2.0, 32767 / 1024)])  # 32 is one too many
def test_saturation_in_the_kernel(kernels: dict[str, Kernel], x: float, w: float,
                                  y: float) -> None:
    work = Work("big", ConvShape(1, 4, 1, 1, 1, 1, 1))
    packed = pack_map(FIXED, np.full((1, 4, 1, 1), x, np.float32))
    weights = pack_weights(FIXED, np.full((1, 4, 1, 1), w, np.float32), None)
    assert unpack_map(FIXED, kernels["fixed16"].forward(work, packed, weights), 1).item() == y


def test_refusals_before_memory_is_touched(kernels: dict[str, Kernel]) -> None:
    kernel, work = kernels["fp32"], Work("conv9", ConvShape(4, 4, 4, 4, 4, 4, 3), 1, 1)
    x = pack_map(SMALL, np.zeros((1, 4, 4, 4), np.float32))
    weights = pack_weights(SMALL, np.zeros((4, 4, 3, 3), np.float32), None)
    with pytest.raises(BadInput, match=r"conv9: input: expected float32 of shape "
                       r"\(1, 1, 4, 4, 4\), found float32 of shape \(1, 1, 4, 3, 4\); pack it"):
        kernel.forward(work, x[:, :, :, :3], weights)
    with pytest.raises(BadInput, match=r"conv9: weights: expected 148 numbers of float32"):
        kernel.forward(work, x, weights[:-1])
    for tile in (EfTile(4, 0, 4, 4), EfTile(4, 2, 3, 4), EfTile(4, 2, 4, 0), EfTile(4, 2, 4, 999)):
        with pytest.raises(BadInput, match=r"conv9: tile .*expected whole rows that the buffers "
                           r"hold, found 256, 128 and 200 words; use fewer rows"):
            kernel.forward(work, x, weights, tile)


def test_compiler_errors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ef_top.cpp").write_text("int main( {")
    with pytest.raises(PynqTrainError, match=r"EF-Train kernel does not compile: .*exit code 0"):
        build(SMALL, tmp_path, tmp_path)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingTool, match=r"expected a C\+\+ compiler .*found no-such-compiler"):
        build(SMALL, tmp_path, tmp_path)


def test_data_types_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"data type: expected fp32 or a 16-bit type, found int4"):
        build(replace(SMALL, dtype=replace(FP32, name="int4", bits=4)), tmp_path, tmp_path)


@pytest.mark.parametrize("flags", [(), ("-DEF_FIXED_FRAC=10", "-DEF_LANES=8",
                                        "-DEF_WORDS_PER_CYCLE=2")], ids=["fp32", "fixed16"])
def test_bench_of_the_vendor_flow_passes_and_fails(flags: tuple[str, ...], tmp_path: Path) -> None:
    hls = default_source().parent
    shutil.copytree(hls, tmp_path / "hls")
    program = tmp_path / "ef_tb"
    command = ["g++", "-std=c++14", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas",
               "-Wno-unused-label", *flags, "-Isrc", "src/ef_top.cpp", "tb/ef_tb.cpp", "-o",
               str(program)]

    def run() -> subprocess.CompletedProcess[str]:
        subprocess.run(command, cwd=tmp_path / "hls", check=True)
        return subprocess.run([program], capture_output=True, text=True)

    done = run()
    assert done.returncode == 0 and done.stdout == "12 cases, 0 wrong\n"
    broken = tmp_path / "hls" / "src" / "ef_move.hpp"
    broken.write_text(broken.read_text().replace("turned ? taps - 1 - tap : tap", "tap"))
    done = run()
    assert done.returncode == 1 and "backward [" in done.stdout


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="there is no tclsh")
@pytest.mark.parametrize(("steps", "wanted"), [("", ["csim_design", "csynth_design"]),
                                               ("csynth export", ["csynth_design",
                                                                  "export_design"])])
def test_script_for_the_vendor_tool(steps: str, wanted: list[str], tmp_path: Path) -> None:
    hls = default_source().parent
    known = ("open_project", "set_top", "add_files", "open_solution", "set_part", "create_clock",
             "config_compile", "csim_design", "csynth_design", "export_design", "close_project")
    stubs = "\n".join(f'proc {name} args {{ puts "{name} $args" }}' for name in known)
    script = tmp_path / "stub.tcl"
    script.write_text(f"{stubs}\nsource {{{hls / 'run_hls.tcl'}}}\n")
    more = {"EF_STEPS": steps} if steps else {}
    done = subprocess.run(["tclsh", str(script)], capture_output=True, text=True,
                          env={**os.environ, **more, "EF_FLAGS": "-DEF_LANES=8"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split()[0].endswith("_design")] == 2 * wanted
    tops = [line.split()[1] for line in lines if line.startswith("set_top")]
    assert tops == ["ef_train", "ef_pool"] and "-DEF_LANES=8" in done.stdout
    assert all(any(name in line for line in lines if line.startswith("add_files"))
               for name in (str(hls / "src" / "ef_top.cpp"), str(hls / "tb" / "ef_tb.cpp")))
