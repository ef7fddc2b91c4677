"""Fields of a pooling descriptor: windows of maxima, forward and backward."""

from __future__ import annotations

from pynq_train.hw.fields import Field, reserved
from pynq_train.hw.limits import MAX_POOL_KERNEL, MAX_SIZE

SPARE_COLUMNS = MAX_POOL_KERNEL - 1
"""Columns of the unit's line that no map may have: windows reach beside it."""
ARGMAX_PIXELS = 4
"""Pooled pixels in one word of argmax indices: 4 bits per channel, 16 per pixel."""
ARGMAX_ROW = 3
"""An argmax index is this times its row in the window, plus its column."""

POOL_FIELDS = (
    Field("i_off", 32, "byte offset of what is read: the map, or the pooled map's gradient"),
    Field("p_rows", 16, "rows of the map"),
    Field("p_cols", 16, "columns of the map"),
    Field("o_off", 32, "byte offset of what is written: the pooled map, or the map's gradient"),
    Field("w_off", 32, "byte offset of the argmax indices, written forward and read backward"),
    Field("q_rows", 16, "rows of the pooled map"),
    Field("q_cols", 16, "columns of the pooled map"),
    Field("t_rows", 16, "rows that the unit goes through"),
    Field("t_cols", 16, "columns that the unit goes through"),
    Field("p_images", 16, "images"),
    Field("p_blocks", 16, "channel blocks of an image, planes one behind the other"),
    Field("i_words", 32, "words of an image that is read"),
    Field("i_step", 32, "bytes from an image that is read to the next"),
    Field("o_step", 32, "bytes from an image that is written to the next"),
    Field("w_words", 32, "words of argmax indices of an image"),
    Field("w_step", 32, "bytes from an image's argmax indices to the next"),
    Field("o_words", 32, "words of an image that is written"),
    reserved("p_pad", 9),
    Field("p_argmax", 1, "forward: write the argmax indices"),
    Field("p_back", 1, "gradients go to the argmax indices; else maxima are taken"),
    reserved("p_pad2", 3),
    Field("p_kernel", 2, "rows of a window, 1..3"),
    Field("p_stride", 2, "rows from window to window, 1..3"),
    Field("p_top", 1, "rows of the first window above the map"),
    Field("p_left", 1, "columns of the first window at the left of the map"),
    Field("p_kernel_cols", 2, "columns of a window, 1..3"),
    Field("p_stride_cols", 2, "columns from window to window, 1..3"),
)

SHARED_PLACES = {
    "i_off": "a_off", "o_off": "v_off", "w_off": "m_off", "p_images": "v_images",
    "i_words": "v_words", "i_step": "v_step", "o_step": "v_jump", "w_words": "m_words",
    "w_step": "m_step", "p_argmax": "v_flags", "p_back": "v_mask_a",
}
"""Fields that stand where one of VECTOR stands: the unit's streams take either.

The other bits that say what VECTOR does stand in reserved fields of POOL: they are zero.
"""


def most_columns(line_columns: int, kernel_rows: int) -> int:
    """Return the most columns of a map that windows of ``kernel_rows`` rows are taken of.

    The unit's line of ``line_columns`` columns holds what a row leaves for the next ones: nothing
    where windows have one row.
    """
    return line_columns - SPARE_COLUMNS if kernel_rows > 1 else MAX_SIZE


def passes(back: bool, size: int, pooled: int, kernel: int, stride: int, pad: int) -> int:
    """Rows (or columns) that the unit goes through.

    Args:
        back: of a gradient, from the first row of the first window on; else from the first row of
            the map on.
        size: rows of the map.
        pooled: rows of the pooled map.
        kernel: rows of a window.
        stride: rows from window to window.
        pad: rows of the first window above the map.
    """
    return pad + size if back else max(size, (pooled - 1) * stride + kernel - pad)
