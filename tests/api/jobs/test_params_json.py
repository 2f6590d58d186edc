"""Parameters on disk: nothing is lost, and what earlier versions wrote can be read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fooocus_core.choices import InpaintEngine, Performance
from fooocus_core.params import GenerationParams, Image, ModelParams, Size
from fooocusapi.exceptions import StoredParamsError
from fooocusapi.jobs.params_json import decode_params, encode_params

# As the first version wrote it. Never changed: later versions have to read it.
FIRST = """{"format": 1, "params": {
"models": {"base": "a.safetensors", "refiner": null, "refiner_switch": 0.5, "refiner_swap": "joint",
 "loras": [{"name": "l", "weight": 0.1}], "vae": null, "clip_skip": 2},
"prompt": {"positive": "a hat \\ud83c\\udfa9", "negative": "", "styles": ["s"],
 "wildcards_in_order": false},
"canvas": {"size": [64, 128], "forced_width": null, "forced_height": null, "count": 2,
 "seed": 9223372036854775807, "same_seed": false},
"sampling": {"performance": "Speed", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras",
 "steps": null, "switch_step": null},
"freeu": {"b1": 1.01, "b2": 1.02, "s1": 0.99, "s2": 0.95},
"inpaint": {"image": {"picture": 0}, "mask": null, "invert": false, "grow": 0,
 "extend": [{"side": "Left", "pixels": null}], "prompt": "", "engine": "v2.6", "strength": 1.0,
 "from_noise": false, "field": 1.0, "show_mask": false},
"image_prompts": [{"image": {"picture": 1}, "kind": "ImagePrompt", "stop": 0.5, "weight": 0.6}],
"output": {"metadata": "fooocus", "previews": true}}}"""


def no_picture(number: int) -> Image:
    raise AssertionError("there are no pictures")


def built(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that parameters are made of."""
    origin = get_origin(kind)
    if origin is UnionType:
        return st.one_of(
            *(st.none() if part is type(None) else built(part) for part in get_args(kind))
        )
    if origin is np.ndarray:
        return st.integers(1, 3).map(lambda side: np.full((side, 2, 3), side, np.uint8))
    if origin is tuple:
        return st.lists(built(get_args(kind)[0]), max_size=2).map(tuple)
    if dataclasses.is_dataclass(kind):
        return built_fields(kind)
    if kind is Size:
        return st.builds(Size, st.integers(1, 4096), st.integers(1, 4096))
    plain: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(1, 2**63 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(st.characters(exclude_categories=[])),
    }
    return plain[kind] if kind in plain else st.sampled_from(list(kind))


def built_fields(kind: Any) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: built(hint) for name, hint in hints.items()})


def taken_apart(value: Any) -> Any:
    """Something that can be compared: pictures as lists."""
    return dataclasses.asdict(
        value,
        dict_factory=lambda items: {key: _comparable(entry) for key, entry in items},
    )


def _comparable(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(params=built(GenerationParams))
def test_what_was_encoded_comes_back_equal(params: GenerationParams) -> None:
    encoded = encode_params(params)
    encoded.text.encode("ascii")
    again = decode_params(encoded.text, encoded.pictures.__getitem__)
    assert taken_apart(again) == taken_apart(params)


def test_what_the_first_version_wrote_is_read() -> None:
    pictures = [np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)]
    params = decode_params(FIRST, pictures.__getitem__)
    assert params.canvas.size == Size(64, 128)
    assert params.canvas.seed == 2**63 - 1
    assert params.sampling.performance is Performance.SPEED
    assert params.inpaint is not None
    assert params.inpaint.engine is InpaintEngine.V2_6
    assert params.inpaint.image is pictures[0]
    assert params.image_prompts[0].image is pictures[1]
    assert params.prompt.positive == "a hat \N{TOP HAT}"
    # Not known to that version.
    assert params.guidance.scale == 4.0


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(encode_params(GenerationParams(models=ModelParams(base="x"))).text)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        (changed(lambda content: content.update(format=2)), "format 2"),
        (changed(lambda content: content["params"].update(later=1)), "has no later"),
        (changed(lambda content: content["params"]["models"].pop("base")), "needs base"),
        (changed(lambda content: content["params"]["canvas"].update(seed="1")), "is no int"),
        (changed(lambda content: content["params"]["sampling"].update(sampler="x")), "'x'"),
    ],
    ids=["empty", "format", "unknown", "missing", "type", "choice"],
)
def test_what_is_not_understood_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(StoredParamsError, match=reason):
        decode_params(text, no_picture)
