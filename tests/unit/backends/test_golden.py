"""Golden against plain loops, on whole memory images."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reference_models import naive
from reference_models.described import described
from reference_models.golden_bench import FIRST, PROGRAM, RECORD, STEP, Bench, Case

from pynq_train.backends import RunRequest, open_backend
from pynq_train.backends.golden import GoldenMachine, conv
from pynq_train.backends.golden.post import Requantiser
from pynq_train.backends.golden.workers import single_threaded_blas
from pynq_train.errors import BadInput, HardwareFault
from pynq_train.hw.commands import DESCRIPTOR_BYTES, Opcode, Pass, pack_descriptor, pack_params


@pytest.mark.parametrize("kernel", range(1, 12))
@pytest.mark.parametrize("number", range(5))
def test_convolution(kernel: int, number: int, seed: int) -> None:
    name = f"{seed} {kernel} {number}"
    case = Case.random(random.Random(name), kernel)
    Bench(case, np.random.default_rng([seed, kernel, number])).check_all()


@pytest.mark.parametrize("kernel", [(1, 9), (9, 1), (10, 4), (1, 2), (3, 1), (2, 5), (4, 11)])
@pytest.mark.parametrize("number", range(2))
def test_rectangular_convolution(kernel: tuple[int, int], number: int, seed: int) -> None:
    case = Case.random(random.Random(f"{seed} {kernel} {number}"), kernel)
    Bench(case, np.random.default_rng([seed, *kernel, number])).check_all()


@pytest.mark.parametrize("number", range(3))
def test_tiny_chunks_and_split_products(number: int, seed: int,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few rows, and sums that are split as if float64 held fewer bits."""
    monkeypatch.setattr(conv, "CHUNK_BYTES", 300)
    monkeypatch.setattr(conv, "EXACT", 1 << 34)
    case = Case.random(random.Random(f"{seed} chunks {number}"), 2 + number)
    Bench(case, np.random.default_rng([seed, number])).check_all()


def test_sums_wrap_at_48_bits() -> None:
    """A bias that takes the sum over 2**47 wraps, as in the engine."""
    case = Case(m=2, n=1, kernel=(1, 1), stride=(1, 1), top=0, left=0, rows=2, cols=2, out_rows=2,
                out_cols=2, images=1, relu=False, pool=False, bias=True, extreme=True)
    rng = np.random.default_rng(3)
    bench = Bench(case, rng)
    bench.b = np.array([2**31 - 1, -(2**31)])
    bench._shift = lambda total: 33  # type: ignore[method-assign]
    for shift in (16, 17, 30):
        bench.rng = _Fixed(rng, shift)  # type: ignore[assignment]
        bench.check_all()


class _Fixed:
    """A generator whose draw for the bias shift is fixed."""

    def __init__(self, rng: np.random.Generator, shift: int) -> None:
        self._rng, self._shift = rng, shift

    def integers(self, low: int, high: int, *args: object, **kwargs: object) -> object:
        if (low, high) == (-20, 15):
            return self._shift
        return self._rng.integers(low, high, *args, **kwargs)  # type: ignore[call-overload]


@pytest.mark.parametrize("known", [0, (1 << 20) - 1])
def test_measure_is_exact_whatever_is_known(known: int, rng: np.random.Generator) -> None:
    values = rng.integers(-(1 << 19), 1 << 19, (64, 8)) & ~5
    requantise = Requantiser(4, None, False)
    requantise.measure = known
    out = np.empty(values.shape, np.int16)
    requantise(values * 2.0**-4, out)
    assert requantise.measure == known | int(np.bitwise_or.reduce((values ^ values >> 63).ravel()))


def _memory(fields: dict[str, int], params: dict[str, int], nbytes: int,
            rng: np.random.Generator) -> np.ndarray:
    memory = rng.integers(0, 256, nbytes, dtype=np.uint8)
    fields = {"pre.rec_off": RECORD, "pre.param": 1, **fields}
    memory[:DESCRIPTOR_BYTES] = np.frombuffer(pack_descriptor(described(fields)), np.uint8)
    memory[STEP + 16 : STEP + 32] = np.frombuffer(
        pack_params(Opcode(fields["pre.opcode"]), params), np.uint8)
    return memory


@pytest.mark.parametrize("nesterov", [0, 1])
@pytest.mark.parametrize("plain", [0, 1])
@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("count", [4, 64, 20_000])
def test_update(count: int, copy: int, plain: int, nesterov: int,
                rng: np.random.Generator) -> None:
    g, wv, w16 = FIRST, FIRST + 8 * count, FIRST + 16 * count
    params = {"g_shift": int(rng.integers(0, 64)), "w_shift": int(rng.integers(0, 32)),
              "lr_shift": int(rng.integers(0, 48)), "lr": int(rng.integers(0, 1 << 16)),
              "momentum": int(rng.integers(0, 65537)), "decay": int(rng.integers(0, 1 << 16)),
              "nesterov": nesterov}
    fields = {"pre.opcode": int(Opcode.UPDATE), "u.g_off": g, "u.wv_off": wv, "u.w16_off": w16,
              "u.u_count": count, "u.u_copy": copy, "u.u_plain": plain}
    memory = _memory(fields, params, FIRST + 18 * count, rng)
    gradients = memory[g:wv].view(np.int64)
    gradients >>= rng.integers(16, 64, count)
    expected = memory.copy()
    masters = expected[wv : w16 - 4 * count * plain].view(np.int32).reshape(count, -1)
    codes = expected[w16:].view(np.int16)
    measure = saturations = 0
    for i in range(count):
        v = 0 if plain else int(masters[i, 1])
        v, w, code, clipped = naive.update(int(gradients[i]), v, int(masters[i, 0]), params)
        masters[i] = w if plain else (w, v)
        measure |= w if w >= 0 else ~w
        if copy:
            codes[i] = code
            saturations += clipped
    expected[RECORD : RECORD + 32].view(np.int64)[:] = (measure, saturations, 0, 0)
    GoldenMachine(memory, 2).run(PROGRAM, 1, STEP)
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("classes,batch,shift,spread", [
    (1, 3, 0, 0), (2, 5, 12, 3), (10, 33, 12, 0), (10, 7, 15, 8), (13, 4, 31, 0),
    (1000, 6, 13, 0), (1024, 3, 31, 16)])
@pytest.mark.parametrize("gradient", [0, 1])
@pytest.mark.parametrize("kind", ["one-hot", "smooth", "anything", "mse", "mse, shifted"])
def test_softmax(classes: int, batch: int, shift: int, spread: int, gradient: int, kind: str,
                 rng: np.random.Generator) -> None:
    blocks = -(-classes // 4)
    size = blocks * batch * 8
    logits, dlogits, labels = FIRST, FIRST + size, FIRST + 2 * size
    fields = {"pre.opcode": int(Opcode.SOFTMAX), "f.logit_off": logits, "f.label_off": labels,
              "f.dlogit_off": dlogits, "f.f_batch": batch, "f.f_classes": classes,
              "f.f_grad": gradient, "f.f_mse": int(kind.startswith("mse"))}
    valid = batch - batch // 3
    params = {"z_shift": shift, "valid": valid, "t_off": 0, "t_drop": 0, "m_shift": 0}
    if kind == "smooth":
        off = round(0.1 * 65536 / classes)
        params.update(t_off=off, t_drop=(classes - 1) * off)
    elif kind == "anything":
        params.update(t_off=int(rng.integers(1 << 16)), t_drop=int(rng.integers(1 << 16)))
    elif kind == "mse, shifted":
        params["m_shift"] = int(rng.integers(1, 32))
    memory = _memory(fields, params, labels + 8 * batch, rng)
    z = memory[logits:dlogits].view(np.int16)
    z[:] = np.clip(z >> spread, -32767, 32767)
    label = memory[labels:].view(np.int64)
    label[:] = rng.integers(0, classes, batch)
    label[-1] = -1
    if batch > 4:
        label[1] = classes + 2**40
    expected = memory.copy()
    out = expected[dlogits:labels].view(np.int16).reshape(blocks, batch, 4)
    words = z.reshape(blocks, batch, 4)
    loss = correct = 0
    for b in range(batch):
        row = [int(words[c // 4, b, c % 4]) for c in range(classes)]
        one, right, codes = naive.loss(row, int(label[b]), params, kind.startswith("mse"))
        if b < valid:
            loss, correct = loss + one, correct + right
        if gradient:
            padded = np.zeros(blocks * 4, np.int16)
            padded[:classes] = codes if b < valid else 0
            out[:, b] = padded.reshape(-1, 4)
    expected[RECORD : RECORD + 32].view(np.int64)[:] = (loss, correct, 0, 0)
    GoldenMachine(memory).run(PROGRAM, 1, STEP)
    np.testing.assert_array_equal(memory, expected)


def test_backend_runs_step_by_step() -> None:
    with open_backend("golden", 1 << 16) as backend:
        fence = pack_descriptor({"pre.opcode": int(Opcode.FENCE)})
        backend.write(1024, fence * 3)
        request = RunRequest(1024, 3, 0, 1)
        assert list(backend.run_step_mode(request)) == [0, 1, 2]
        assert backend.run(request).cycles == 0
        assert backend.read(1024, 8).tobytes() == fence[:8]
        with pytest.raises(BadInput, match="outside the arena"):
            backend.read(1 << 16, 1)
    with pytest.raises(BadInput, match="not open"):
        backend.read(0, 1)


def test_illegal_descriptors_are_named() -> None:
    with open_backend("golden", 1 << 14) as backend:
        fence = pack_descriptor({"pre.opcode": int(Opcode.FENCE)})
        update = {"pre.opcode": int(Opcode.UPDATE), "u.g_off": 1 << 13, "u.u_count": 1 << 12}
        backend.write(0, fence + pack_descriptor(described(update)))
        with pytest.raises(HardwareFault, match=r"descriptor 1 .*gradient sums"):
            backend.run(RunRequest(0, 2, 8192, 1))
        backend.write(0, b"\x77" + bytes(1023))
        with pytest.raises(HardwareFault, match="descriptor 0 is illegal"):
            backend.run(RunRequest(0, 1, 8192, 1))
        broken = {"pre.opcode": int(Opcode.CONV), "g.g_pass": int(Pass.FORWARD)}
        backend.write(0, pack_descriptor(broken))
        with pytest.raises(HardwareFault, match="g_kernel: expected 1 or more"):
            backend.run(RunRequest(0, 1, 8192, 1))
        sizes = ("kernel", "stride", "m", "n", "images", "nb", "in_rows", "in_cols", "out_rows",
                 "out_cols")
        whole = {"g.g_pass": int(Pass.WEIGHT_GRADIENT), "g.g_tile": 16,
                 **{f"g.g_{name}": 1 for name in sizes}}
        backend.write(0, pack_descriptor({"pre.opcode": int(Opcode.CONV), **whole}))
        with pytest.raises(HardwareFault, match="found WEIGHT_GRADIENT in CONV"):
            backend.run(RunRequest(0, 1, 8192, 1))
        backend.write(0, pack_descriptor(described({
            "pre.opcode": int(Opcode.GRADIENT), **whole, "u.u_count": 32})))
        with pytest.raises(HardwareFault, match=r"the weights of the geometry \(64\), found 32"):
            backend.run(RunRequest(0, 1, 8192, 1))


def test_blas_threads_are_given_back() -> None:
    from pynq_train.backends.golden.workers import _blas_thread_control

    control = _blas_thread_control()
    before = control[0]() if control else None
    with single_threaded_blas():
        if control:
            assert control[0]() == 1
    assert (control[0]() if control else None) == before
