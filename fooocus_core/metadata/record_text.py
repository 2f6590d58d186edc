"""The text of a record, in either scheme, taken apart into values by the keys of its rows.

Takes values as they are written; knows neither what they mean nor which files exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fooocus_core.choices import MetadataScheme
from fooocus_core.errors import InvalidInputError
from fooocus_core.metadata.a1111_words import sampler_name, unquote
from fooocus_core.metadata.embed import EmbeddedText

MAX_CHARACTERS = 200_000
_FEWEST_PAIRS = 3
_NEGATIVE = "Negative prompt:"
# Possessive, because labels are looked for in texts of any length: no way back, no quadratic time.
_PAIR = re.compile(r'(\w[\w \-/]{1,60}+):\s*+("(?:\\.|[^\\"])++"|[^,]*)(?:,|$)')

# Label of the scheme a1111 -> key of the row whose value it shows.
_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "Raw prompt": "prompt",
        "Raw negative prompt": "negative_prompt",
        "Performance": "performance",
        "Steps": "steps",
        "CFG scale": "guidance_scale",
        "Sharpness": "sharpness",
        "ADM Guidance": "adm_guidance",
        "Model": "base_model",
        "Model hash": "base_model_hash",
        "Refiner": "refiner_model",
        "Refiner hash": "refiner_model_hash",
        "Overwrite Switch": "overwrite_switch",
        "Refiner Swap Method": "refiner_swap_method",
        "Adaptive CFG": "adaptive_cfg",
        "Clip skip": "clip_skip",
        "Scheduler": "scheduler",
        "VAE": "vae",
        "Seed": "seed",
        "FreeU": "freeu",
    }
)
_OBJECT_KEYS = frozenset({*_KEYS.values(), "styles", "resolution", "sampler", "loras"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordText:
    """A record taken apart.

    Attributes:
        values: By the keys of the record's rows; ``loras`` holds (stem, weight, hash) for each.
        positive, negative: The texts that were encoded, joined with ``", "``; ``None`` = the
            record does not say.
    """

    scheme: MetadataScheme
    values: Mapping[str, Any]
    positive: str | None
    negative: str | None


def parse_record(embedded: EmbeddedText) -> RecordText:
    """Take a record apart. Of an unnamed scheme, an object is ``fooocus`` and a text ``a1111``.

    Raises:
        InvalidInputError: The text is of neither scheme, or not of the one that it is said to be.
    """
    text = embedded.text[: MAX_CHARACTERS + 1].strip()
    if len(text) > MAX_CHARACTERS:
        raise InvalidInputError(f"The record is longer than {MAX_CHARACTERS} characters.")
    found = _parse_object(text)
    scheme = embedded.scheme
    if scheme is None:
        scheme = MetadataScheme.A1111 if found is None else MetadataScheme.FOOOCUS
    if scheme is MetadataScheme.A1111:
        return _parse_pairs(text)
    if found is None or not _OBJECT_KEYS & found.keys():
        raise InvalidInputError("The record is not one of the scheme fooocus.")
    return RecordText(
        scheme=scheme,
        values={**found, "loras": found.get("loras", list(_combined_loras(found)))},
        positive=_join_texts(found.get("full_prompt")),
        negative=_join_texts(found.get("full_negative_prompt")),
    )


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _join_texts(value: Any) -> str | None:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return ", ".join(value)


def _combined_loras(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    number = 1
    while isinstance(combined := values.get(f"lora_combined_{number}"), str):
        stem, _, weight = combined.rpartition(" : ")
        yield stem, weight, ""
        number += 1


def _parse_pairs(text: str) -> RecordText:
    """The record of a text whose last line holds pairs of label and value."""
    rest, _, last = text.rpartition("\n")
    pairs = {label.strip(): unquote(value) for label, value in _PAIR.findall(last)}
    if len(pairs) < _FEWEST_PAIRS:
        raise InvalidInputError("The record is of neither the scheme fooocus nor a1111.")
    positive, negative = _split_prompts(rest)
    values: dict[str, Any] = {
        "prompt": positive,
        "negative_prompt": negative,
        "refiner_model": "None",
        **{_KEYS[label]: value for label, value in pairs.items() if label in _KEYS},
        "loras": _weighted_loras(pairs),
    }
    if "Sampler" in pairs:
        values["sampler"] = sampler_name(pairs["Sampler"])
    if "Size" in pairs:
        values["resolution"] = pairs["Size"].replace("x", ",")
    return RecordText(
        scheme=MetadataScheme.A1111, values=values, positive=positive, negative=negative
    )


def _split_prompts(text: str) -> tuple[str, str]:
    if text.startswith(_NEGATIVE):
        return "", text.removeprefix(_NEGATIVE).lstrip(" ")
    positive, _, negative = text.partition(f"\n{_NEGATIVE}")
    return positive, negative.lstrip(" ")


def _weighted_loras(pairs: Mapping[str, str]) -> Any:
    """(stem, weight, hash) for each LoRA; weights that cannot be taken apart as they are."""
    weighted, hashed = pairs.get("Lora weights"), pairs.get("Lora hashes", "")
    if weighted is None:
        # Older records have the weights behind the hashes; other programs have hashes only.
        three = _split_pairs(hashed, _is_number) or []
        parted = [(*stem.rpartition(": "), weight) for stem, weight in three]
        return [(stem, weight, digits) for stem, mark, digits, weight in parted if mark]
    loras = _split_pairs(weighted, _is_number)
    hashes = [digits for _, digits in _split_pairs(hashed, str.isalnum) or []]
    if loras is None:
        return weighted
    known = hashes if len(hashes) == len(loras) else [""] * len(loras)
    return [(*lora, digits) for lora, digits in zip(loras, known, strict=True)]


def _split_pairs(text: str, is_value: Callable[[str], bool]) -> list[tuple[str, str]] | None:
    """The pairs of ``name: value, name: value``; ``None`` if something is left over.

    A name may hold the marks between pairs and their parts.
    """
    pairs, name = [], ""
    for piece in text.split(", ") if text else []:
        inner, mark, value = piece.rpartition(": ")
        if mark and is_value(value):
            pairs.append((name + inner, value))
            name = ""
        else:
            name += f"{piece}, "
    return None if name else pairs


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
