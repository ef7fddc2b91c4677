"""The pooling pass of ``docs/engine.md``, element by element, on plain integers."""

from __future__ import annotations

from reference_models.naive import rne, sat
from reference_models.vector_model import LANES, M48, Memory, lanes_of


def pool(memory: Memory, d: dict[str, int], p: dict[str, int]) -> Memory:
    """Return the words that a POOL descriptor writes, the record included.

    Args:
        memory: what it reads; missing words are 0.
        d: fields ``p.*`` and ``pre.rec_off``.
        p: fields of its step-block entry.
    """
    out: Memory = {}
    rows, cols, q_rows, q_cols = (d[f"p.{n}"] for n in ("p_rows", "p_cols", "q_rows", "q_cols"))
    down, right, back = d["p.p_stride"], d["p.p_stride_cols"], d["p.p_back"]
    measure = saturations = 0

    def put(offset: int, totals: list[int]) -> None:
        nonlocal measure, saturations
        word = 0
        for n, total in enumerate(totals):
            measure |= total ^ (total >> 63)
            exact = rne(total, p["shift"])
            code = sat(exact, 16)
            saturations += code != exact
            word |= (code & 0xFFFF) << 16 * n
        out[offset] = word

    for image in range(d["p.p_images"]):
        for block in range(d["p.p_blocks"]):
            def at(name: str, plane: int, image: int = image, block: int = block) -> int:
                return d[f"p.{name}_off"] + image * d[f"p.{name}_step"] + 8 * block * plane

            small = at("i" if back else "o", q_rows * q_cols)
            large = at("o" if back else "i", rows * cols)
            argmax = at("w", -(-q_rows * q_cols // 4))
            sums = [[[0] * LANES for _ in range(cols)] for _ in range(rows)]
            for pixel in range(q_rows * q_cols):
                row, col = divmod(pixel, q_cols)
                first = row * down - d["p.p_top"], col * right - d["p.p_left"]
                flag, low = argmax + 8 * (pixel // 4), 16 * (pixel % 4)
                if back:
                    gradient = lanes_of(memory.get(small + 8 * pixel, 0))
                    codes = memory.get(flag, 0) >> low
                    for n in range(LANES):
                        code = codes >> 4 * n & 15
                        r, c = first[0] + code // 3, first[1] + code % 3
                        if code < 9 and 0 <= r < rows and 0 <= c < cols:
                            sums[r][c][n] += gradient[n]
                    continue
                best: list[tuple[int, int]] = []
                for n in range(LANES):
                    found = []
                    for kr in range(d["p.p_kernel"]):
                        for kc in range(d["p.p_kernel_cols"]):
                            r, c = first[0] + kr, first[1] + kc
                            if 0 <= r < rows and 0 <= c < cols:
                                word = memory.get(large + 8 * (r * cols + c), 0)
                                found.append((-lanes_of(word)[n], 3 * kr + kc))
                    best.append(min(found))  # the largest; of equal ones the first place
                put(small + 8 * pixel, [-value for value, _ in best])
                if d["p.p_argmax"]:
                    bits = sum(place << 4 * n for n, (_, place) in enumerate(best))
                    out[flag] = out.get(flag, 0) | bits << low
            if back:
                for r in range(rows):
                    for c in range(cols):
                        put(large + 8 * (r * cols + c), sums[r][c])
    for k, value in enumerate((measure & M48, saturations, 0, 0)):
        out[d["pre.rec_off"] + 8 * k] = value
    return out
