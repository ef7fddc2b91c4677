"""What the paper's own builds were, and figures that it prints (tables 6 to 8).

Buffers follow from the paper's block memory counts and tiles; of the builds for '1X' it prints the
counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynq_train.eftrain.chips import FP32, XC7Z020, ZU9EG
from pynq_train.eftrain.design import Design
from pynq_train.eftrain.latency import ConvShape, EfPass

VGG16_BUILD = Design(ZU9EG, FP32, 16, 2486, 2016, 576, slot_kernel=3)
"""VGG-16 on the ZCU102, 16 x 16."""
ALEXNET_BUILD = Design(ZU9EG, FP32, 16, 4096, 1024, 7 * 12**2, slot_kernel=12)
"""AlexNet on the ZCU102: seven slots per weight bank for kernels of up to 11 x 11."""
ONE_X_ZCU102_BUILD = Design(ZU9EG, FP32, 16, 512, 512, 512)
"""'1X' on the ZCU102."""
ONE_X_PYNQ_BUILD = Design(XC7Z020, FP32, 6, 2048, 1024, 1024)
"""'1X' on the PYNQ-Z1: 6 x 6 is what 180 DSPs and 108 block memories leave."""

ALEXNET = {
    "c1": ConvShape(96, 3, 55, 55, 227, 227, 11, 4),
    "c2": ConvShape(256, 96, 27, 27, 27, 27, 5),
    "c3": ConvShape(384, 256, 13, 13, 13, 13, 3),
    "c4": ConvShape(384, 384, 13, 13, 13, 13, 3),
    "c5": ConvShape(256, 384, 13, 13, 13, 13, 3),
}
"""AlexNet's convolutions without groups, as the paper ran them."""


@dataclass(frozen=True)
class Table6Row:
    """A row of table 6: AlexNet, four images, ZCU102 at 100 MHz, 16 x 16.

    Attributes:
        layer: key of :data:`ALEXNET`.
        kind: which pass.
        rows: ``Tr``.
        cols: ``Tc``.
        on_chip: ``M_on``.
        model: cycles predicted by the paper's model.
        board: cycles counted on the paper's board.
    """

    layer: str
    kind: EfPass
    rows: int
    cols: int
    on_chip: int
    model: int
    board: int


_FP, _BP, _WU = EfPass.FP, EfPass.BP, EfPass.WU
TABLE6 = (
    Table6Row("c1", _FP, 2, 55, 96, 11_504_640, 11_419_835),
    Table6Row("c1", _WU, 2, 55, 96, 9_043_384, 9_299_086),
    Table6Row("c2", _FP, 27, 27, 112, 7_309_808, 7_312_794),
    Table6Row("c2", _BP, 27, 27, 48, 7_126_784, 7_146_578),
    Table6Row("c2", _WU, 27, 27, 112, 7_423_616, 7_430_533),
    Table6Row("c3", _FP, 13, 13, 112, 2_478_272, 2_510_310),
    Table6Row("c3", _BP, 13, 13, 112, 2_566_987, 2_671_392),
    Table6Row("c3", _WU, 13, 13, 112, 2_682_240, 2_706_696),
    Table6Row("c4", _FP, 13, 13, 112, 3_646_400, 3_708_934),
    Table6Row("c4", _BP, 13, 13, 112, 3_861_220, 3_972_757),
    Table6Row("c4", _WU, 13, 13, 112, 3_960_960, 4_014_651),
    Table6Row("c5", _FP, 13, 13, 112, 2_432_368, 2_475_263),
    Table6Row("c5", _BP, 13, 13, 112, 2_618_372, 2_686_910),
    Table6Row("c5", _WU, 13, 13, 112, 2_640_640, 2_677_726),
)


@dataclass(frozen=True)
class Measured:
    """A figure that the paper measured on a board, end to end.

    Attributes:
        net: network.
        chip: name of the chip.
        batch: images.
        ms_per_image: milliseconds per image.
        gflops: thousand million operations of the convolutions per second.
        dsp: DSPs of the whole accelerator.
        bram36: its block memories.
        watts: power by the vendor's report, not measured.
    """

    net: str
    chip: str
    batch: int
    ms_per_image: float
    gflops: float
    dsp: int
    bram36: int
    watts: float


MEASURED = (
    Measured("1x", "xc7z020", 128, 14.32, 4.08, 212, 123, 1.85),
    Measured("1x", "xczu9eg", 128, 2.08, 28.15, 1315, 324, 6.89),
    Measured("vgg16-conv", "xczu9eg", 16, 1955.0, 46.99, 1508, 787, 7.712),
)
"""Tables 7 and 8; the time of VGG-16 is read off figure 21 (31.28 s per batch of 16)."""


def measured(net: str, chip: str) -> Measured | None:
    """Return the paper's figure for a network on a chip by their names; None if there is none."""
    return next((one for one in MEASURED if (one.net, one.chip) == (net, chip)), None)
