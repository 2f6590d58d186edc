"""Fields of a request that nobody knows but that look like misspelt ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from itertools import islice

from fooocusapi.schemas.forms import ENHANCE_SLOTS, IMAGE_PROMPT_SLOTS
from fooocusapi.schemas.parameters import (
    AdvancedParams,
    EnhanceRegion,
    GenerationRequest,
    ImagePrompt,
)
from fooocusapi.schemas.pictures import Location
from fooocusapi.schemas.requests import EnhanceRequest, GuidedRequest
from fooocusapi.tolerance import Tolerance

_MAX_LOOKED_AT = 100
_MAX_LENGTH = 60
_ALIKE = 0.8
# An older name of one of the options, known without being a field of its own.
_ALIASES = frozenset({"inpaint_mask_upload_checkbox"})


def check_field_names(request: GenerationRequest, tolerance: Tolerance) -> None:
    """Tell of unknown fields that are spelt nearly like a known one.

    All others are meant for other programs, and no word is said of them; nor of options that stand
    beside ``advanced_params``, where some clients repeat them.

    Raises:
        InvalidFieldError: Strict, and there is one.
    """
    slots = _slot_fields(request)
    passed_over = {*AdvancedParams.model_fields, *_ALIASES, *slots}
    _check(request, (), passed_over, tolerance, elsewhere=slots)
    _check(request.advanced_params, ("advanced_params",), _ALIASES, tolerance)
    if isinstance(request, GuidedRequest):
        for index, prompt in enumerate(request.image_prompts):
            _check(prompt, ("image_prompts", index), (), tolerance)
    if isinstance(request, EnhanceRequest):
        for index, region in enumerate(request.enhance_ctrlnets):
            _check(region, ("enhance_ctrlnets", index), (), tolerance)


def _slot_fields(request: GenerationRequest) -> tuple[str, ...]:
    """What a form may have beside the fields of the request."""
    if isinstance(request, GuidedRequest):
        return IMAGE_PROMPT_SLOTS.form_names
    return ENHANCE_SLOTS.form_names if isinstance(request, EnhanceRequest) else ()


def _check(
    part: GenerationRequest | AdvancedParams | ImagePrompt | EnhanceRegion,
    place: Location,
    passed_over: Collection[str],
    tolerance: Tolerance,
    *,
    elsewhere: Collection[str] = (),
) -> None:
    unknown = (name for name in part.model_extra or {} if name not in passed_over)
    for name, meant in _misspelt(unknown, {*type(part).model_fields, *elsewhere}):
        tolerance.tolerate(
            (*place, name),
            name,
            f"unknown field '{name}'",
            instead="ignored",
            allowed="the fields that /docs describes",
            close=[meant],
        )


def _misspelt(given: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    # Only so many are looked at, so that a body full of unknown fields costs no time.
    for name in islice(given, _MAX_LOOKED_AT):
        if len(name) <= _MAX_LENGTH:
            close = get_close_matches(name.casefold(), known, n=1, cutoff=_ALIKE)
            if close:
                yield name, close[0]
