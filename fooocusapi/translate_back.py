"""What a picture says about how it was made -> the request that gives it again.

The other direction of ``translate.py``; beside it, nothing else knows both vocabularies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fooocus_core.choices import DEFAULT_VAE, MetadataScheme
from fooocus_core.config import Defaults
from fooocus_core.errors import InvalidInputError
from fooocus_core.metadata.embed import read_embedded
from fooocus_core.metadata.reading import RecordReader, StatedParams
from fooocus_core.params import FreeUParams, Lora, Size
from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.requests import TextToImageRequest, find_errors

_NO_MODEL = "None"
_OFF = -1
_Path = tuple[str | int, ...]

# Part and field of the parameters -> name in a request, where the value stays as it is.
_FIELDS = (
    ("prompt", "positive", "prompt"),
    ("prompt", "negative", "negative_prompt"),
    ("sampling", "performance", "performance_selection"),
    ("guidance", "scale", "guidance_scale"),
    ("guidance", "sharpness", "sharpness"),
    ("models", "base", "base_model_name"),
    ("models", "refiner_switch", "refiner_switch"),
)
_ADVANCED_FIELDS = (
    ("guidance", "size_scale_positive", "adm_scaler_positive"),
    ("guidance", "size_scale_negative", "adm_scaler_negative"),
    ("guidance", "size_scale_end", "adm_scaler_end"),
    ("guidance", "adaptive_scale", "adaptive_cfg"),
    ("models", "clip_skip", "clip_skip"),
    ("models", "refiner_swap", "refiner_swap_method"),
    ("sampling", "sampler", "sampler_name"),
    ("sampling", "scheduler", "scheduler_name"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestAgain:
    """A text-to-image request for one picture, and what of the picture it cannot ask for."""

    scheme: MetadataScheme
    parameters: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackTranslator:
    """Turns finished pictures into requests by the configuration it is given."""

    reader: RecordReader
    defaults: Defaults

    def request_of(self, picture: bytes) -> RequestAgain:
        """The request that gives an encoded picture of ours, or of a Fooocus, again.

        Raises:
            InvalidFieldError: It is no picture, or does not say how it was made.
        """
        try:
            embedded = read_embedded(picture)
            if embedded is None:
                raise InvalidFieldError(("image",), "there is no metadata in this picture")
            return request_again(self.reader.read(embedded), self.defaults)
        except InvalidInputError as error:
            raise InvalidFieldError(("image",), str(error)) from error


def request_again(stated: StatedParams, defaults: Defaults) -> RequestAgain:
    """The request that gives a picture again on a server with these defaults.

    Values that a request may not have are left out with a warning each, so that the rest is ready
    to be sent.
    """
    parameters = dict(_common(stated))
    parameters["advanced_params"] = dict(_advanced(stated, defaults))
    unusable = _unusable(parameters)
    # From the end on, so that places in lists stay what they are while entries are left out.
    for path in sorted(unusable, key=_place_in_list, reverse=True):
        _leave_out(parameters, path)
    warnings = (f"{'.'.join(map(str, path))} left out: {text}" for path, text in unusable.items())
    return RequestAgain(
        scheme=stated.scheme, parameters=parameters, warnings=(*stated.warnings, *warnings)
    )


def _stated(
    stated: StatedParams, fields: tuple[tuple[str, str, str], ...]
) -> Iterator[tuple[str, Any]]:
    for part, field, name in fields:
        values = getattr(stated, part)
        if field in values:
            yield name, values[field]


def _common(stated: StatedParams) -> Iterator[tuple[str, Any]]:
    yield from _stated(stated, _FIELDS)
    if "styles" in stated.prompt:
        yield "style_selections", list(stated.prompt["styles"])
    if "size" in stated.canvas:
        size: Size = stated.canvas["size"]
        yield "aspect_ratios_selection", f"{size.width}*{size.height}"
    yield "image_number", 1
    if "seed" in stated.canvas:
        # As text: a number above 2^53 does not survive in JavaScript.
        yield "image_seed", str(stated.canvas["seed"])
    if "refiner" in stated.models:
        yield "refiner_model_name", stated.models["refiner"] or _NO_MODEL
    yield "loras", [_lora(lora) for lora in stated.models.get("loras", ())]


def _lora(lora: Lora) -> dict[str, Any]:
    return {"enabled": True, "model_name": lora.name, "weight": lora.weight}


def _advanced(stated: StatedParams, defaults: Defaults) -> Iterator[tuple[str, Any]]:
    yield from _stated(stated, _ADVANCED_FIELDS)
    if "vae" in stated.models:
        yield "vae_name", stated.models["vae"] or DEFAULT_VAE
    yield from _override("overwrite_step", stated.sampling.get("steps"), defaults.steps)
    yield from _override("overwrite_switch", stated.sampling["switch_step"], defaults.switch_step)
    if stated.freeu is not None:
        yield from _freeu(stated.freeu)


def _override(name: str, used: int | None, configured: int | None) -> Iterator[tuple[str, int]]:
    """What makes a server override a number, or not, as it was for the picture."""
    if used is not None:
        yield name, used
    elif configured is not None:
        yield name, _OFF


def _freeu(freeu: FreeUParams) -> Iterator[tuple[str, Any]]:
    yield "freeu_enabled", True
    for name in ("b1", "b2", "s1", "s2"):
        yield f"freeu_{name}", getattr(freeu, name)


def _unusable(parameters: dict[str, Any]) -> dict[_Path, str]:
    """What a request may not have, and why; entries of lists as a whole."""
    found: dict[_Path, str] = {}
    for path, text in find_errors(TextToImageRequest, parameters):
        is_list = isinstance(parameters[str(path[0])], list)
        found.setdefault(path[:2] if is_list else path, text)
    return found


def _place_in_list(path: _Path) -> int:
    return path[-1] if isinstance(path[-1], int) else 0


def _leave_out(parameters: dict[str, Any], path: _Path) -> None:
    place: Any = parameters
    for step in path[:-1]:
        place = place[step]
    place.pop(path[-1])
