"""The record as plain text, the scheme ``a1111``, as many programs and sites read it.

Writes only; reading lies elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from fooocus_core.choices import Sampler, Scheduler
from fooocus_core.metadata.fields import RunRecord, make_rows

# Samplers that go by another name in this scheme; the others keep their own.
SAMPLER_LABELS: Mapping[Sampler, str] = MappingProxyType(
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
KARRAS_SUFFIX = " Karras"

# Label -> key of the row whose value it shows, where there is such a row.
_OPTIONAL_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "Adaptive CFG": "adaptive_cfg",
        "Clip skip": "clip_skip",
        "Overwrite Switch": "overwrite_switch",
        "Refiner Swap Method": "refiner_swap_method",
        "FreeU": "freeu",
    }
)


def format_a1111(record: RunRecord) -> str:
    """Write the record as the texts that were encoded, followed by one line of pairs.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/meta_parser.py.
    """
    lines = [", ".join(record.full_prompt)]
    negative = ", ".join(record.full_negative_prompt)
    if negative:
        lines.append(f"Negative prompt: {negative}")
    lines.append(", ".join(f"{label}: {_quote(value)}" for label, value in _pairs(record)))
    return "\n".join(lines).strip()


def _pairs(record: RunRecord) -> Iterator[tuple[str, Any]]:
    rows = {key: value for _, key, value in make_rows(record)}
    yield "Steps", rows["steps"]
    yield "Sampler", _sampler_label(record)
    yield "Seed", rows["seed"]
    yield "Size", f"{record.size.width}x{record.size.height}"
    yield "CFG scale", rows["guidance_scale"]
    yield "Sharpness", rows["sharpness"]
    yield "ADM Guidance", rows["adm_guidance"]
    yield "Model", record.base.stem
    yield "Model hash", record.base.hash
    yield "Performance", rows["performance"]
    yield "Scheduler", rows["scheduler"]
    yield "VAE", PurePosixPath(rows["vae"]).stem
    yield "Raw prompt", rows["prompt"]
    yield "Raw negative prompt", rows["negative_prompt"]
    if record.refiner:
        yield "Refiner", record.refiner.stem
        yield "Refiner hash", record.refiner.hash
    for label, key in _OPTIONAL_LABELS.items():
        if key in rows:
            yield label, rows[key]
    if record.loras:
        yield "Lora hashes", ", ".join(f"{lora.stem}: {lora.hash}" for lora in record.loras)
        yield (
            "Lora weights",
            ", ".join(f"{lora.stem}: {float(lora.weight)}" for lora in record.loras),
        )
    yield "Version", rows["version"]
    if record.created_by:
        yield "User", record.created_by


def _sampler_label(record: RunRecord) -> str:
    label = SAMPLER_LABELS.get(record.sampler)
    if label is None:
        return record.sampler.value
    return label + KARRAS_SUFFIX if record.scheduler is Scheduler.KARRAS else label


def _quote(value: Any) -> str:
    text = str(value)
    if any(character in text for character in ",\n:"):
        return json.dumps(text, ensure_ascii=False)
    return text
