"""DSPs and block memories of a build: equations 28 to 32 of the paper.

Counted are the convolution kernel's; the DMA engines, pooling and its index buffer come on top (the
paper's PYNQ-Z1 build has 180 of 212 DSPs and 108 of 123 block memories in the kernel). LUTs and
flip-flops are reported nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.eftrain.design import Design, bram36


@dataclass(frozen=True)
class EfResources:
    """What the convolution kernel takes of a chip.

    Attributes:
        dsp: DSPs of multipliers and adders.
        bram36: block memories of 36 kbit of all buffers; halves count 0.5.
        ifm: block memories of the input buffers, both halves.
        ofm: those of the output buffers.
        wei: those of the weight buffers.
    """

    dsp: int
    bram36: float
    ifm: float
    ofm: float
    wei: float


def resources(design: Design) -> EfResources:
    """Return DSPs and block memories of a build's convolution kernel."""
    bits, lanes = design.dtype.bits, design.lanes
    # Every buffer twice, in one bank per lane; weights in one bank per multiplier.
    ifm, ofm, wei = (2 * banks * bram36(words, bits) for banks, words in (
        (lanes, design.ifm_words), (lanes, design.ofm_words), (lanes**2, design.wei_words)))
    return EfResources(design.dtype.dsp_per_mac * lanes**2, ifm + ofm + wei, ifm, ofm, wei)
