"""Hardware configurations: array shape, buffer depths and number widths, each checked."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from pynq_train.hw.limits import ARRAY_LANES, CONFIG_RANGES, GRAD_WORDS_PER_LANE
from pynq_train.hw.words import CHANNELS_PER_WORD, LANES, PORTS

FETCH_AHEAD = 4
"""Descriptors in the engine from which on the sequencer fetches the next ones at leisure."""

FETCH_REST_CYCLES = 512
"""Cycles between two such fetches, a power of two: the first layers need the memory themselves."""


@dataclass(frozen=True)
class HwConfig:
    """One build of the engine. Every key must be given; units stand in the names.

    Attributes:
        name: name of the configuration.
        tm: output lanes of the array (``m``).
        tr: reduction lanes of the array, the length of one DSP cascade.
        tp: pixel lanes of the array, and the number of X banks.
        x_bank_words: depth of one X bank in words; two tiles are held, one in each half.
        s_ring_words: depth of the ring of S words (weights or gradients).
        acc_groups: pixel groups in the accumulator memory; two tiles are held, one in each half.
        stage_words: depth of the staging memory of the store path; two segments are held.
        grad_words: depth of the gradient queue between drain and update unit, in sums.
        flag_words: depth of the flag staging memory; two segments are held.
        table_rows: rows of the pixel table of one descriptor; two tables are held.
        max_taps: longest tap table of a descriptor.
        pool_columns: widest feature map, in columns, that the fused pooling takes.
        line_columns: columns of a map, padding included, of which the pooling pass holds a line.
        sweep_min_cycles: shortest period of a sweep: the read-modify-write distance of the
            accumulators and the reload of S.
        acc_bits: width of an accumulator.
        max_classes: most classes of the softmax unit.
        ports: AXI master ports of 64 bit.
        slots: descriptors that may be under way at once.
    """

    name: str
    tm: int
    tr: int
    tp: int
    x_bank_words: int
    s_ring_words: int
    acc_groups: int
    stage_words: int
    grad_words: int
    flag_words: int
    table_rows: int
    max_taps: int
    pool_columns: int
    line_columns: int
    sweep_min_cycles: int
    acc_bits: int
    max_classes: int
    ports: int
    slots: int

    def __post_init__(self) -> None:
        """Refuse a configuration that the RTL cannot be built with."""
        expected = {"tr": CHANNELS_PER_WORD, "tp": LANES, "acc_bits": 48, "ports": PORTS,
                    "slots": 16}
        for key, value in expected.items():
            if getattr(self, key) != value:
                raise ValueError(
                    f"configuration {self.name}: {key} must be {value}, found {getattr(self, key)}"
                )
        if self.tm not in ARRAY_LANES:
            raise ValueError(f"configuration {self.name}: tm must be "
                             f"{' or '.join(map(str, ARRAY_LANES))}, found {self.tm}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("words", "groups", "rows", "columns", "classes")) and (
                value < 16 or value & (value - 1)
            ):
                raise ValueError(
                    f"configuration {self.name}: {field.name} must be a power of two of 16 or "
                    f"more, found {value}"
                )
        for key, (least, most) in CONFIG_RANGES.items():
            if not least <= getattr(self, key) <= most:
                raise ValueError(f"configuration {self.name}: {key} must be {least}..{most}, "
                                 f"found {getattr(self, key)}")
        if self.grad_words < GRAD_WORDS_PER_LANE * self.tm:
            raise ValueError(
                f"configuration {self.name}: grad_words must be {GRAD_WORDS_PER_LANE * self.tm} "
                f"or more with {self.tm} output lanes, found {self.grad_words}")

    @property
    def multipliers(self) -> int:
        """Multipliers of the array, one DSP each."""
        return self.tm * self.tr * self.tp

    @property
    def m_blocks(self) -> int:
        """Channel blocks of a tile of output channels."""
        return self.tm // CHANNELS_PER_WORD

    @property
    def x_tile_words(self) -> int:
        """Largest X tile in words: half of all banks."""
        return self.tp * self.x_bank_words // 2

    @property
    def acc_tile_groups(self) -> int:
        """Largest accumulator tile in pixel groups: half of the memory."""
        return self.acc_groups // 2

    @property
    def stage_segment_words(self) -> int:
        """Largest staged segment in words: half of the memory."""
        return self.stage_words // 2

    @property
    def flag_segment_words(self) -> int:
        """Largest staged flag segment in words: half of the memory."""
        return self.flag_words // 2


ZYNQ7020 = HwConfig(
    name="zynq7020",
    tm=16,
    tr=4,
    tp=3,
    x_bank_words=4096,
    s_ring_words=2048,
    acc_groups=512,
    stage_words=8192,
    grad_words=16384,
    flag_words=2048,
    table_rows=512,
    max_taps=121,
    pool_columns=256,
    line_columns=512,
    sweep_min_cycles=12,
    acc_bits=48,
    max_classes=1024,
    ports=4,
    slots=16,
)
"""192 multipliers, sized for the Zynq-7020."""

WIDE32 = replace(ZYNQ7020, name="wide32", tm=32)
"""384 multipliers."""

SMALL = replace(
    ZYNQ7020, name="small", x_bank_words=2048, s_ring_words=1024, stage_words=4096, grad_words=4096,
    flag_words=1024,
)
"""192 multipliers, two thirds of the block memories: for a first bitstream."""

K26 = replace(ZYNQ7020, name="k26", grad_words=8192)
"""192 multipliers and a shorter gradient queue: the K26 has few block memories."""

CONFIGS = {config.name: config for config in (ZYNQ7020, WIDE32, K26, SMALL)}
"""All configurations by name."""


def package_path(config: HwConfig) -> str:
    """Path of the generated contract package of a configuration, from the project's folder."""
    folder = "" if config == ZYNQ7020 else f"{config.name}/"
    return f"rtl/gen/{folder}pt_spec_pkg.sv"
