"""The record as plain text, the scheme ``a1111``, as many programs and sites read it.

Writes only; reading lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from fooocus_core.metadata.a1111_words import label_sampler, quote
from fooocus_core.metadata.fields import RunRecord, make_rows

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
    lines.append(", ".join(f"{label}: {quote(str(value))}" for label, value in _pairs(record)))
    return "\n".join(lines).strip()


def _pairs(record: RunRecord) -> Iterator[tuple[str, Any]]:
    rows = {key: value for _, key, value in make_rows(record)}
    yield "Steps", rows["steps"]
    yield "Sampler", label_sampler(record.sampler, record.scheduler)
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
