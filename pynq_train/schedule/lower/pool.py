"""Lowering of pooling passes: the fields of POOL descriptors, section ``p``."""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.hw.pool import passes
from pynq_train.hw.words import WORD_BYTES
from pynq_train.program.program import Fields
from pynq_train.schedule.specs.spec import LayerSpec


@dataclass(frozen=True)
class PoolLowering:
    """Makes the descriptors of one pooling pass for some images of the mini-batch.

    Attributes:
        spec: the layer.
        first: first image; ``images``: their number.
    """

    spec: LayerSpec
    first: int
    images: int

    def forward(self, x: int, y: int, argmax: int, keep: bool) -> Fields:
        """Return the fields that take the maximum of each window.

        Args:
            x: byte offset of the whole input in the arena.
            y: byte offset of the whole output.
            argmax: byte offset of the argmax indices.
            keep: store the argmax indices; an evaluation does not need them.
        """
        return {**self._fields(x, y, argmax, False), "p.p_argmax": int(keep)}

    def backward(self, dy: int, dx: int, argmax: int) -> Fields:
        """Return the fields that hand each gradient back to the pixel that was the maximum.

        Args:
            dy: byte offset of the whole gradient of the output.
            dx: byte offset of the whole gradient of the input.
            argmax: byte offset of the argmax indices.
        """
        return self._fields(dy, dx, argmax, True)

    def _fields(self, read: int, written: int, argmax: int, back: bool) -> Fields:
        """Return the fields of either direction; ``back`` is the backward pass.

        ``p_rows``, ``p_cols`` are always sizes of the larger map, ``q_rows``, ``q_cols`` of the
        pooled one. ``t_rows``, ``t_cols`` count the unit's passes over an axis, which differ by
        direction.
        """
        spec = self.spec
        assert spec.flags is not None
        source, result = (spec.y, spec.x) if back else (spec.x, spec.y)
        fields: Fields = {
            "p.p_images": self.images, "p.p_blocks": spec.x.blocks, "p.p_kernel": spec.kernel.rows,
            "p.p_stride": spec.stride.rows, "p.p_kernel_cols": spec.kernel.cols,
            "p.p_stride_cols": spec.stride.cols, "p.p_top": spec.pad_top,
            "p.p_left": spec.pad_left, "p.p_back": int(back)}
        for name, offset, layout in (("i", read, source), ("o", written, result),
                                     ("w", argmax, spec.flags)):
            stride = layout.image_stride  # behind an image there may be other maps
            fields.update({f"p.{name}_off": offset + self.first * stride,
                           f"p.{name}_words": layout.blocks * layout.block_stride // WORD_BYTES,
                           f"p.{name}_step": stride})
        axes = (("rows", spec.x.rows, spec.y.rows, spec.pad_top),
                ("cols", spec.x.cols, spec.y.cols, spec.pad_left))
        for (name, size, pooled, pad), kernel, stride in zip(axes, spec.kernel, spec.stride):
            fields.update({f"p.p_{name}": size, f"p.q_{name}": pooled,
                           f"p.t_{name}": passes(back, size, pooled, kernel, stride, pad)})
        return fields
