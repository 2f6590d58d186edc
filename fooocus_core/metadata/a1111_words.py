"""Words of the scheme ``a1111``: its names of samplers and its quotes, in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType

from fooocus_core.choices import Sampler, Scheduler

# Samplers that go by another name in this scheme; the others keep their own.
_SAMPLER_LABELS: Mapping[Sampler, str] = MappingProxyType(
    {
        Sampler.EULER: "Euler",
        Sampler.EULER_ANCESTRAL: "Euler a",
        Sampler.HEUN: "Heun",
        Sampler.DPM_2: "DPM2",
        Sampler.DPM_2_ANCESTRAL: "DPM2 a",
        Sampler.LMS: "LMS",
        Sampler.DPM_FAST: "DPM fast",
        Sampler.DPM_ADAPTIVE: "DPM adaptive",
        Sampler.DPMPP_2S_ANCESTRAL: "DPM++ 2S a",
        Sampler.DPMPP_SDE: "DPM++ SDE",
        Sampler.DPMPP_SDE_GPU: "DPM++ SDE",
        Sampler.DPMPP_2M: "DPM++ 2M",
        Sampler.DPMPP_2M_SDE: "DPM++ 2M SDE",
        Sampler.DPMPP_2M_SDE_GPU: "DPM++ 2M SDE",
        Sampler.LCM: "LCM",
        Sampler.TCD: "TCD",
        Sampler.RESTART: "Restart",
        Sampler.DDIM: "DDIM",
        Sampler.UNI_PC: "UniPC",
    }
)
_KARRAS_SUFFIX = " Karras"
_NEEDING_QUOTES = ",\n:"


def label_sampler(sampler: Sampler, scheduler: Scheduler) -> str:
    """The sampler's name in this scheme, which mentions one of the schedulers."""
    label = _SAMPLER_LABELS.get(sampler)
    if label is None:
        return sampler.value
    return label + _KARRAS_SUFFIX if scheduler is Scheduler.KARRAS else label


def sampler_name(label: str) -> str:
    """Our name of the sampler with this label: the first one in the order of the list.

    Two samplers may share a label; they draw the same numbers. A label that is not known comes
    back as it is.
    """
    bare = label.removesuffix(_KARRAS_SUFFIX)
    named = (sampler.value for sampler, known in _SAMPLER_LABELS.items() if known == bare)
    return next(named, bare)


def quote(text: str) -> str:
    """The text as the value of a pair; as JSON if it would be mistaken for several pairs."""
    if any(character in text for character in _NEEDING_QUOTES):
        return json.dumps(text, ensure_ascii=False)
    return text


def unquote(text: str) -> str:
    """The text that :func:`quote` made this of; other texts in quotes keep them."""
    if len(text) < 2 or not text.startswith('"') or not text.endswith('"'):
        return text
    try:
        # Not strict: other programs leave tabs and the like as they are.
        value = json.loads(text, strict=False)
    except ValueError:
        return text
    return value if isinstance(value, str) and quote(value) != value else text
