"""The configuration keys: what each may be, and what it is if no file says so.

Keys are those of a Fooocus 2.5.5 ``config.txt``. Knows nothing of files and where values come from.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from fooocus_core.choices import DEFAULT_VAE, InpaintEngine, Performance, Sampler, Scheduler
from fooocus_core.params import Lora, Size

NONE = "None"
MIN_SIDE, MAX_SIDE = 64, 4096

_SIZE = re.compile(r"\s*([0-9]{1,6})\s*[*xX×]\s*([0-9]{1,6})")
_Member = TypeVar("_Member", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One configuration key.

    Attributes:
        builtin: Its value if nothing else sets it, in the form a file has it.
        read: Turns the form a file has into the value used; raises :class:`ValueError` with what
            is allowed.
        may_be_empty: Whether an empty text is a value; otherwise it means ``"None"``.
    """

    builtin: Any
    read: Callable[[Any], Any]
    may_be_empty: bool = False

    def value_of(self, raw: Any) -> Any:
        """The value used for what a file or the environment says.

        Raises:
            ValueError: Says what is allowed.
        """
        if raw is None or (raw == "" and not self.may_be_empty):
            raw = "" if self.may_be_empty else NONE
        return self.read(raw)


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError("a text")
    return raw


def _optional_text(raw: Any) -> str:
    text = _text(raw)
    return "" if text == NONE else text


def _file_name(raw: Any) -> str:
    if not isinstance(raw, str) or raw == NONE:
        raise ValueError("the name of a model file")
    return raw.replace("\\", "/")


def _optional_file_name(raw: Any) -> str | None:
    return None if raw in (NONE, DEFAULT_VAE) else _file_name(raw)


def _flag(raw: Any) -> bool:
    if isinstance(raw, str) and raw.lower() in ("true", "false"):
        return raw.lower() == "true"
    if not isinstance(raw, bool):
        raise ValueError("true or false")
    return raw


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return float(raw)

    return read


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(raw: Any) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return raw

    return read


def _if_positive(
    read: Callable[[Any], float], kind: Callable[[float], Any]
) -> Callable[[Any], Any]:
    """A number that stands for "not set" at 0 and below."""

    def read_positive(raw: Any) -> Any:
        number = read(raw)
        return kind(number) if number > 0 else None

    return read_positive


def _member(vocabulary: type[_Member]) -> Callable[[Any], _Member]:
    def read(raw: Any) -> _Member:
        try:
            return vocabulary(raw)
        except ValueError as error:
            raise ValueError(f"one of {', '.join(vocabulary)}") from error

    return read


def _size(raw: Any) -> Size:
    match = _SIZE.match(raw) if isinstance(raw, str) else None
    size = Size(int(match[1]), int(match[2])) if match else None
    if size is None or not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise ValueError(f"width*height, each from {MIN_SIDE} to {MAX_SIDE}")
    return size


def _texts(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
        raise ValueError("a list of texts")
    return tuple(raw)


def _file_names(raw: Any) -> tuple[str, ...]:
    return tuple(_file_name(item) for item in _texts(raw))


def folder_path(raw: Any) -> str:
    """The path of one folder; raises :class:`ValueError` with what is allowed."""
    if not isinstance(raw, str) or raw in ("", NONE) or "\0" in raw:
        raise ValueError("a folder")
    return raw


def folder_paths(raw: Any) -> tuple[str, ...]:
    """One path or a list of them; raises :class:`ValueError` with what is allowed."""
    paths = (raw,) if isinstance(raw, str) else raw
    if not paths or not isinstance(paths, list | tuple):
        raise ValueError("a folder or a list of folders")
    return tuple(folder_path(path) for path in paths)


def _lora_slots(raw: Any) -> tuple[Lora | None, ...]:
    """One entry per slot, ``None`` where it is switched off or empty."""
    if not isinstance(raw, list | tuple):
        raise ValueError("a list of [enabled, file name, weight]")
    return tuple(_lora_slot(item) for item in raw)


def _lora_slot(raw: Any) -> Lora | None:
    parts = list(raw) if isinstance(raw, list | tuple) else []
    enabled, name, weight = parts if len(parts) == 3 else [True, *parts, None, None][:3]
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not isinstance(enabled, bool) or not isinstance(name, str) or not is_number:
        raise ValueError("a list of [enabled, file name, weight]")
    if not math.isfinite(weight):
        raise ValueError("a list of [enabled, file name, weight] with finite weights")
    return Lora(name=_file_name(name), weight=float(weight)) if enabled and name != NONE else None


def _addresses(raw: Any) -> Mapping[str, str]:
    texts = isinstance(raw, dict) and all(isinstance(item, str) for item in [*raw, *raw.values()])
    if not texts:
        raise ValueError("an object of file names and their addresses")
    return dict(raw)


def _slot_count(raw: Any) -> int | None:
    """``None`` = as many as ``default_loras`` has entries."""
    return None if raw == NONE else _integer(1, 100)(raw)


VALUE_KEYS: Mapping[str, Key] = MappingProxyType(
    {
        "default_model": Key(builtin="model.safetensors", read=_file_name),
        "previous_default_models": Key(builtin=[], read=_file_names),
        "default_refiner": Key(builtin=NONE, read=_optional_file_name),
        "default_refiner_switch": Key(builtin=0.8, read=_number(0.1, 1)),
        "default_loras": Key(builtin=[[True, NONE, 1.0]] * 5, read=_lora_slots),
        "default_max_lora_number": Key(builtin=None, read=_slot_count),
        "default_cfg_scale": Key(builtin=7.0, read=_number(1, 30)),
        "default_sample_sharpness": Key(builtin=2.0, read=_number(0, 30)),
        "default_cfg_tsnr": Key(builtin=7.0, read=_number(1, 30)),
        "default_clip_skip": Key(builtin=2, read=_integer(1, 12)),
        "default_sampler": Key(builtin="dpmpp_2m_sde_gpu", read=_member(Sampler)),
        "default_scheduler": Key(builtin="karras", read=_member(Scheduler)),
        "default_vae": Key(builtin=DEFAULT_VAE, read=_optional_file_name),
        "default_styles": Key(
            builtin=["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"], read=_texts
        ),
        "default_prompt": Key(builtin="", read=_text, may_be_empty=True),
        "default_prompt_negative": Key(builtin="", read=_text, may_be_empty=True),
        "default_performance": Key(builtin="Speed", read=_member(Performance)),
        "default_aspect_ratio": Key(builtin="1152*896", read=_size),
        "default_overwrite_step": Key(builtin=-1, read=_if_positive(_integer(-1, 200), int)),
        "default_overwrite_switch": Key(builtin=-1, read=_if_positive(_integer(-1, 200), int)),
        "default_overwrite_upscale": Key(builtin=-1, read=_if_positive(_number(-1, 1), float)),
        "default_inpaint_engine_version": Key(builtin="v2.6", read=_member(InpaintEngine)),
        "default_controlnet_image_count": Key(builtin=4, read=_integer(1, 100)),
        "default_black_out_nsfw": Key(builtin=False, read=_flag),
        "metadata_created_by": Key(builtin="", read=_optional_text),
        "checkpoint_downloads": Key(builtin={}, read=_addresses),
        "lora_downloads": Key(builtin={}, read=_addresses),
        "embeddings_downloads": Key(builtin={}, read=_addresses),
        "vae_downloads": Key(builtin={}, read=_addresses),
    }
)

# Key -> field of config.Folders, and the sub-folder of the models root.
MODEL_FOLDER_KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "path_checkpoints": ("checkpoints", "checkpoints"),
        "path_loras": ("loras", "loras"),
        "path_embeddings": ("embeddings", "embeddings"),
        "path_vae": ("vae", "vae"),
        "path_vae_approx": ("vae_approx", "vae_approx"),
        "path_upscale_models": ("upscale_models", "upscale_models"),
        "path_inpaint": ("inpaint", "inpaint"),
        "path_controlnet": ("controlnet", "controlnet"),
        "path_clip_vision": ("clip_vision", "clip_vision"),
        "path_fooocus_expansion": ("expansion", "prompt_expansion/fooocus_expansion"),
        "path_safety_checker": ("safety_checker", "safety_checker"),
        "path_sam": ("sam", "sam"),
    }
)
