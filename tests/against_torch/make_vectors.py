"""Write ``vectors/*.npz``: results of PyTorch for machines without it (run: needs torch).

    python tests/against_torch/make_vectors.py
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cases
import golden_layer
import numpy as np
import torch_layer

FOLDER = Path(__file__).resolve().parent / "vectors"
LAYERS = (
    golden_layer.Case(3, 6, 5, 5, 3, 1, 1, True, True, True, 2, 17, 2, 17, 1),
    golden_layer.Case(4, 7, 7, 3, 3, 2, -1, True, False, True, 1, 17, -2, 17, 2),
    golden_layer.Case(2, 8, 7, 2, 5, 3, 2, False, True, False, 1, 17, 0, 16, 3),
    golden_layer.Case(5, 4, 3, 6, 1, 1, 0, True, False, True, 2, 16, 4, 16, 4),
    golden_layer.Case(3, 3, 2, 7, 0, 1, 0, True, False, True, 3, 17, 3, 16, 5),
)
"""Small: the results of all five take a few kB."""


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    for number, case in enumerate(LAYERS):
        data = case.data()
        check = {f"in_{k}": v.astype(np.int32 if k == "b" else np.int16) for k, v in data.items()}
        np.savez_compressed(FOLDER / f"layer{number}.npz", case=json.dumps(asdict(case)),
                            **check, **torch_layer.run_layer(case, data))
    for seed in range(3):
        logits, labels, z_shift = cases.softmax_case(seed)
        loss, correct, gradient = torch_layer.run_softmax(logits, labels, z_shift)
        np.savez_compressed(FOLDER / f"softmax{seed}.npz", logits=logits.astype(np.int16),
                            labels=labels.astype(np.int16), z_shift=z_shift, loss=loss,
                            correct=correct, gradient=gradient)
    for seed in range(2, 4):
        masters, sums, fields, real = cases.sgd_case(seed)
        w, v = torch_layer.run_sgd(
            masters[:, 0] * 2.0**-28, masters[:, 1] * 2.0**-24,
            sums * 2.0 ** (16 - fields["g_shift"] - 24), real.lr, real.momentum, real.decay)
        np.savez_compressed(FOLDER / f"sgd{seed}.npz", masters=masters.astype(np.int32), sums=sums,
                            fields=json.dumps(fields), lr=real.lr, momentum=real.momentum,
                            decay=real.decay, weights=w, momenta=v)


if __name__ == "__main__":
    main()
