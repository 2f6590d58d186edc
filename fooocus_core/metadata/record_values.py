"""What each value of a record means: its place among the parameters, and reading it.

Every reader takes a value of either scheme, JSON or text, and raises :class:`ValueError` for one
that makes no sense. Knows neither files nor what other values say.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from fooocus_core.choices import Performance, RefinerSwap, Sampler, Scheduler
from fooocus_core.params import FreeUParams, Size

MAX_SEED = 2**63 - 1
_MAX_STEPS = 10_000
_MAX_SIDE = 100_000
_MAX_LIST_CHARACTERS = 20_000
_WHOLE = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """Where a value of the record goes: a field ``name`` in a ``part`` of the parameters."""

    part: str
    name: str
    read: Callable[[Any], Any]


class RecordedLora(NamedTuple):
    """A LoRA as a record names it."""

    stem: str
    weight: float
    hash: str


def read_text(raw: Any) -> str:
    """A text, without halves of surrogate pairs, which could not be sent to anybody."""
    if not isinstance(raw, str):
        raise ValueError("a text is wanted")
    return raw.encode(errors="replace").decode()


def read_scales(raw: Any) -> dict[str, float]:
    """The three size scales, by their fields in the parameters."""
    positive, negative, end = _numbers(raw, 3)
    return {"size_scale_positive": positive, "size_scale_negative": negative, "size_scale_end": end}


def read_freeu(raw: Any) -> FreeUParams:
    """The four scales of FreeU."""
    b1, b2, s1, s2 = _numbers(raw, 4)
    return FreeUParams(b1=b1, b2=b2, s1=s1, s2=s2)


def read_loras(raw: Any) -> list[RecordedLora]:
    """A list of (stem, weight, hash)."""
    if not isinstance(raw, list):
        raise ValueError("a list is wanted")
    return [_lora(item) for item in raw]


def _lora(raw: Any) -> RecordedLora:
    if not isinstance(raw, list | tuple) or len(raw) != 3:
        raise ValueError("stem, weight and hash are wanted")
    stem, weight, digits = raw
    return RecordedLora(stem=read_text(stem), weight=_number(weight), hash=read_text(digits))


def _number(raw: Any) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        raise ValueError("a number is wanted")
    try:
        number = float(raw)
    except OverflowError as error:
        raise ValueError("a smaller number is wanted") from error
    if not math.isfinite(number):
        raise ValueError("a finite number is wanted")
    return number


def _numbers(raw: Any, count: int) -> list[float]:
    """The numbers of a text like ``(1.5, 0.8, 0.3)``."""
    numbers = [_number(part) for part in read_text(raw).strip("() ").split(",")]
    if len(numbers) != count:
        raise ValueError(f"{count} numbers are wanted")
    return numbers


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def read(raw: Any) -> int:
        text = str(raw) if isinstance(raw, int) and abs(raw) <= MAX_SEED else raw
        if not isinstance(text, str) or not _WHOLE.fullmatch(text):
            raise ValueError("a whole number is wanted")
        if not low <= int(text) <= high:
            raise ValueError(f"a number from {low} to {high} is wanted")
        return int(text)

    return read


def _size(raw: Any) -> Size:
    """The size of a text like ``(1152, 896)``."""
    width, height = read_text(raw).strip("() ").split(",")
    side = _whole(1, _MAX_SIDE)
    return Size(side(width.strip()), side(height.strip()))


def _names(raw: Any) -> tuple[str, ...]:
    """The texts of a list, or of a text that shows one as Python does."""
    if isinstance(raw, str):
        if len(raw) > _MAX_LIST_CHARACTERS:
            raise ValueError("a shorter list is wanted")
        try:
            raw = ast.literal_eval(raw.strip())
        except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError("a list is wanted") from error
    if not isinstance(raw, list | tuple):
        raise ValueError("a list is wanted")
    return tuple(read_text(name) for name in raw)


FIELDS: Mapping[str, RecordField] = MappingProxyType(
    {
        "prompt": RecordField(part="prompt", name="positive", read=read_text),
        "negative_prompt": RecordField(part="prompt", name="negative", read=read_text),
        "styles": RecordField(part="prompt", name="styles", read=_names),
        "resolution": RecordField(part="canvas", name="size", read=_size),
        "seed": RecordField(part="canvas", name="seed", read=_whole(0, MAX_SEED)),
        "performance": RecordField(part="sampling", name="performance", read=Performance),
        "steps": RecordField(part="sampling", name="steps", read=_whole(1, _MAX_STEPS)),
        "sampler": RecordField(part="sampling", name="sampler", read=Sampler),
        "scheduler": RecordField(part="sampling", name="scheduler", read=Scheduler),
        "overwrite_switch": RecordField(
            part="sampling", name="switch_step", read=_whole(1, _MAX_STEPS)
        ),
        "guidance_scale": RecordField(part="guidance", name="scale", read=_number),
        "adaptive_cfg": RecordField(part="guidance", name="adaptive_scale", read=_number),
        "sharpness": RecordField(part="guidance", name="sharpness", read=_number),
        "refiner_switch": RecordField(part="models", name="refiner_switch", read=_number),
        "refiner_swap_method": RecordField(part="models", name="refiner_swap", read=RefinerSwap),
        "clip_skip": RecordField(part="models", name="clip_skip", read=_whole(1, 100)),
    }
)
"""Key of a row -> its place; without files, and without what stands for several fields."""
