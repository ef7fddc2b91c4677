"""Whether a layer fits the fields of the engine, and its sums the accumulators."""

from __future__ import annotations

from pynq_train.errors import DoesNotFit
from pynq_train.hw.limits import (
    MAX_FEATURES,
    MAX_FLAG_COLUMNS,
    MAX_POOL_COLUMNS,
    MAX_PRODUCTS,
    MAX_SIZE,
)
from pynq_train.hw.words import CHANNELS_PER_WORD
from pynq_train.schedule.specs.spec import LayerSpec


def check_products(spec: LayerSpec, backward: bool = True, weight_gradient: bool = True) -> None:
    """Check that the layer fits the engine's fields, and no sum can leave a 48-bit accumulator.

    Args:
        spec: the layer.
        backward: check the backward pass, if the layer has one.
        weight_gradient: check the weight gradient, whose sums run over all images and pixels.

    Raises:
        DoesNotFit: a size, a row of flags or a sum is too large; the text says what would fit.
    """
    large = spec.y if spec.kind.transposed else spec.x
    for what, value, most in (("input features", spec.n, MAX_FEATURES),
                              ("output channels", spec.m, MAX_SIZE),
                              ("rows", large.rows, MAX_SIZE),
                              ("columns", large.cols, MAX_SIZE)):
        if value > most:
            raise DoesNotFit(f"layer {spec.name!r}: {what}", expected=f"at most {most}",
                             found=value, fix="use a smaller layer")
    if spec.kind.scales and spec.words > MAX_PRODUCTS:
        raise DoesNotFit(f"layer {spec.name!r}: pixels of a map that is scaled by channels",
                         expected=f"at most {MAX_PRODUCTS}, so that 48 bits never overflow",
                         found=spec.words, fix="use a smaller map")
    if spec.norm_group:
        _check_groups(spec)
    if not spec.on_array:
        return
    most = MAX_POOL_COLUMNS if spec.pool else MAX_FLAG_COLUMNS
    if spec.flags is not None and spec.out_cols > most:
        raise DoesNotFit(
            f"layer {spec.name!r}: {'mini-batch' if spec.dense else 'columns'} with "
            f"{'pooling' if spec.pool else spec.activation}", expected=f"at most {most}",
            found=spec.out_cols,
            fix="use a smaller mini-batch" if spec.dense else "use a narrower map")
    pixels = spec.out_rows * spec.out_cols
    n, m = spec.n, spec.m
    if spec.groups is not None:
        # A section is dense: its absent weights are products too, of zeros.
        n, m = spec.groups.section_n, spec.groups.section_m
    if spec.kind.transposed:
        n, m = m, n
        if spec.bias and weight_gradient:
            pixels = large.rows * large.cols  # the sums of biases go over the whole output
    sums = [("forward", n * spec.kernel.area, "fewer input channels")]
    if backward and spec.backward:
        sums.append(("backward", m * spec.kernel.area, "fewer output channels"))
    if weight_gradient:
        # Only a smaller mini-batch makes this sum shorter, if a single image fits at all.
        fits = MAX_PRODUCTS // pixels
        fix = (f"use a mini-batch of at most {fits} images" if fits
               else f"use maps of at most {MAX_PRODUCTS} pixels")
        sums.append(("weight gradient", spec.images * pixels, fix))
    for what, products, fix in sums:
        if products > MAX_PRODUCTS:
            raise DoesNotFit(
                f"layer {spec.name!r}: products in one sum of the {what}",
                expected=f"at most {MAX_PRODUCTS}, so that 48 bits never overflow",
                found=products, fix=fix)


def _check_groups(spec: LayerSpec) -> None:
    """Check that a group normalisation's sums and their number keep within their fields."""
    products = spec.norm_blocks * spec.words
    for what, found, most, fix in (
            (f"values of a group in one of {CHANNELS_PER_WORD} sums", products, MAX_PRODUCTS,
             "use more groups, or smaller maps"),
            ("statistics of a mini-batch", spec.table_blocks, MAX_SIZE,
             f"use a mini-batch of at most {MAX_SIZE * spec.x.images // spec.table_blocks} "
             "images")):
        if found > most:
            raise DoesNotFit(f"layer {spec.name!r}: {what}", expected=f"at most {most}",
                             found=found, fix=fix)
