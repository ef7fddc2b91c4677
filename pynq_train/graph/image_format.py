"""What images a network was made for: range, mean and deviation per channel, order of axes.

It belongs to the model as the weights do: it is imported, saved, shown and exported with them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pynq_train.errors import BadInput

UINT8_RANGE = (0.0, 1.0)
"""Range over which uint8 images are spread where nobody has said another one: division by 255."""
BYTE_RANGE = (0.0, 255.0)
CHANNELS_FIRST, CHANNELS_LAST = LAYOUTS = ("channels first", "channels last")
"""Order of the axes of images."""
_MOST_GAIN = 2.0**20
_FLOAT32 = np.finfo(np.float32)
_LEAST_BYTE_STD = 16.0
"""A network that divides its images by this or more was not made for images of 0..1."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and deviation per channel that are taken from, and divide, every image."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain values, for a checkpoint."""
        return {key: list(value) for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Any) -> Normalisation:
        """Rebuild from :meth:`to_dict`; :class:`BadInput` if it is malformed."""
        try:
            return cls(_numbers("mean", data["mean"]), _numbers("std", data["std"]))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise BadInput(f"saved normalisation is malformed ({error})") from None


@dataclass(frozen=True)
class ImageFormat:
    """The images that a network takes.

    A value ``v`` of an image lies in ``input_range``; the network sees ``(v - mean) / std``. uint8
    images are spread over the range: 0 is its lower end, 255 its upper one.

    Attributes:
        input_range: lowest and highest value; None: nobody has said one, nor has it been trained.
        normalisation: None to leave the values as they are.
        stated: somebody has said the range; else it is that of the images of a training.
        layout: order of the axes, which counts where their sizes leave a choice.
        gain: a power of two by which the network sees them multiplied, in the end: an importer's,
            where weights that read the images are larger than the engine's masters.
    """

    input_range: tuple[float, float] | None = None
    normalisation: Normalisation | None = None
    stated: bool = True
    layout: str = CHANNELS_FIRST
    gain: float = 1.0

    @property
    def seen(self) -> Normalisation | None:
        """Mean and deviation behind which the network sees the images: the gain is in them."""
        if self.gain == 1:
            return self.normalisation
        norm = self.normalisation or Normalisation((0.0,), (1.0,))
        return Normalisation(norm.mean, tuple(one / self.gain for one in norm.std))

    @classmethod
    def make(cls, channels: int, input_range: Sequence[float] | None = None,
             mean: float | Sequence[float] | None = None,
             std: float | Sequence[float] | None = None, layout: str = CHANNELS_FIRST
             ) -> ImageFormat:
        """Return the format of what a user says.

        Args:
            channels: channels of the network's input.
            input_range: lowest and highest value, None for an unknown range.
            mean: a number, or one per channel, in the units of the range (default: 0).
            std: likewise, above 0 (default: 1).
            layout: ``channels first`` or ``channels last``.

        Raises:
            BadInput: numbers that are not finite, not in order, or not as many as channels; or
                another layout.
        """
        if not isinstance(layout, str) or layout not in LAYOUTS:
            raise BadInput("layout", expected=" or ".join(map(repr, LAYOUTS)), found=_shown(layout))
        span = None
        if input_range is not None:
            values = _numbers("input_range", input_range)
            width = float(np.float32(values[-1])) - float(np.float32(values[0]))
            if len(values) != 2 or not 0 < width <= _FLOAT32.max:
                raise BadInput("input_range", expected="two numbers, the lower one first, that "
                               "differ in float32",
                               found=_shown(input_range), fix="for pixels: input_range=(0, 255)")
            span = (values[0], values[1])
        if mean is None and std is None:
            return cls(span, layout=layout)
        means, stds = (_each("mean", 0.0 if mean is None else mean, channels),
                       _each("std", 1.0 if std is None else std, channels))
        if min(stds) <= 0:
            raise BadInput("std", expected="numbers above 0", found=_shown(std))
        if min(stds) < _FLOAT32.tiny:
            raise BadInput("std", expected=f"numbers of at least {_FLOAT32.tiny:.3g} (float32)",
                           found=_shown(std))
        return cls(span, Normalisation(means, stds), layout=layout)

    def with_given(self, channels: int, input_range: Sequence[float] | None,
                   mean: float | Sequence[float] | None, std: float | Sequence[float] | None,
                   layout: str | None = None) -> ImageFormat:
        """Return this format with what a user says instead; None leaves a part as it is.

        Mean and deviation of bytes say the range too, where nobody does.

        Raises:
            BadInput: as of :meth:`make`.
        """
        given = self.make(channels, input_range, mean, std,
                          self.layout if layout is None else layout)
        stated = self.stated or input_range is not None
        made = ImageFormat(given.input_range or self.input_range,
                           given.normalisation or self.normalisation, stated, given.layout,
                           self.gain)
        # What is said of bytes says the range too; values up to 1 may be of anything.
        implied = made.implied() if given.normalisation is not None else made
        return implied if implied.input_range == BYTE_RANGE else made

    def implied(self) -> ImageFormat:
        """Return this format with the range of pixels that its normalisation is for.

        Mean and deviation that are those of bytes, or of bytes divided by 255, say so; of others no
        range is known.
        """
        norm = self.normalisation
        if norm is None or self.input_range is not None or min(norm.mean) < 0:
            return self
        if max(norm.mean) <= BYTE_RANGE[1] and min(norm.std) >= _LEAST_BYTE_STD:
            return replace(self, input_range=BYTE_RANGE)
        if max(norm.mean) <= UINT8_RANGE[1] and max(norm.std) <= UINT8_RANGE[1]:
            return replace(self, input_range=UINT8_RANGE)
        return self

    def __str__(self) -> str:
        """Return the format in words: ``images of 0..1, mean 0.5, std 0.25``."""
        text = "images of any range"
        if self.input_range is not None:
            low, high = self.input_range
            text = f"images of {low:g}..{high:g}"
        if self.normalisation is not None:
            text += (f", mean {_list(self.normalisation.mean)}"
                     f", std {_list(self.normalisation.std)}")
        if self.gain != 1:
            text += f", times {self.gain:g}"
        return f"{text}, {self.layout}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint or the metadata of an ONNX file."""
        norm = self.normalisation
        return {"input_range": None if self.input_range is None else list(self.input_range),
                "stated": self.stated, "normalisation": None if norm is None else norm.to_dict(),
                "layout": self.layout, **({} if self.gain == 1 else {"gain": self.gain})}

    @classmethod
    def from_dict(cls, data: Any, channels: int) -> ImageFormat:
        """Rebuild from :meth:`to_dict`; entries may be missing.

        Raises:
            BadInput: it is malformed, or not for ``channels`` channels.
        """
        try:
            span, norm = data.get("input_range"), data.get("normalisation")
            layout = data.get("layout", CHANNELS_FIRST)
            made = cls.make(channels, span, layout=layout)
            if norm is not None:
                normalisation = Normalisation.from_dict(norm)
                made = cls.make(channels, span, normalisation.mean, normalisation.std, layout)
            stated = data.get("stated", True)
            gain, *more = _numbers("gain", data.get("gain", 1.0))
        except (AttributeError, TypeError) as error:
            raise BadInput(f"saved format of the images is malformed ({error})") from None
        if not isinstance(stated, bool):
            raise BadInput("saved format of the images: stated", expected="true or false",
                           found=_shown(stated))
        if more or math.frexp(gain)[0] != 0.5 or not 1 <= gain <= _MOST_GAIN:
            raise BadInput("saved format of the images: gain", expected="a power of two of 1 to "
                           f"{_MOST_GAIN:g}", found=_shown(data["gain"]))
        return replace(made, stated=stated, gain=gain)


ANY_IMAGES = ImageFormat()
"""Nobody has said anything."""


def checked_format(value: Any) -> ImageFormat:
    """Return a format of images; BadInput if it is something else."""
    if not isinstance(value, ImageFormat):
        raise BadInput("input_format", expected="an ImageFormat", found=type(value).__name__,
                       fix="take that of a model or learner, or say input_range=, mean=, std=")
    return value


def _shown(value: Any) -> str:
    """Return a value for messages: one line, not too long."""
    return " ".join(repr(value).split())[:80]


def _list(values: Sequence[float]) -> str:
    """Return numbers for people; equal ones once."""
    shown = values[:1] if len(set(values)) == 1 else values
    return ", ".join(f"{value:.4g}" for value in shown)


def _each(what: str, value: float | Sequence[float], channels: int) -> tuple[float, ...]:
    """Return one number per channel."""
    values = _numbers(what, value)
    if len(values) not in (1, channels):
        raise BadInput(what, expected=f"one finite number, or {channels} (one per channel)",
                       found=_shown(value))
    return values if len(values) == channels else values * channels


def _numbers(what: str, value: Any) -> tuple[float, ...]:
    """Return a number, or a sequence of them (an array with one axis of values), as floats.

    Raises:
        BadInput: there are others, or they have no order, or one is not finite in float32.
    """
    if isinstance(value, np.ndarray) and value.size == max(value.shape, default=1):
        value = value.ravel()  # (channels, 1, 1), as it is saved for broadcasting
    try:
        if isinstance(value, (Set, Mapping)) or np.ma.is_masked(value):
            raise TypeError
        single = isinstance(value, str) or not hasattr(value, "__len__") or (
            getattr(value, "ndim", 1) == 0)
        many = [value] if single else list(value)
        values = tuple(float(one) for one in many
                       if not isinstance(one, (str, bytes, bool, np.bool_)))
        good = len(values) == len(many) and all(abs(one) <= _FLOAT32.max for one in values)
    except (TypeError, ValueError, OverflowError):
        good, values = False, ()
    if not good or not values:
        raise BadInput(what, expected="finite numbers", found=_shown(value))
    return values
