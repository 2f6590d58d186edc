"""LoRA tags: ``<lora:name:0.8>`` in a prompt names a LoRA file and its weight.

Knows neither files nor folders, only the names it is given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from fooocus_core.errors import InvalidInputError
from fooocus_core.params import Lora

_TAG = re.compile(r"<lora:([^:]+):([+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+))>")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedPrompt:
    """A prompt without its LoRA tags.

    Attributes:
        text: The prompt, cleaned up.
        loras: All LoRAs of the job: those given, then those of the tags.
        unknown: Names in tags for which there is no file.
    """

    text: str
    loras: tuple[Lora, ...]
    unknown: tuple[str, ...]


def take_lora_tags(
    prompt: str, *, given: Sequence[Lora], files: Sequence[str], limit: int
) -> TaggedPrompt:
    """Take the LoRA tags out of a prompt and add their LoRAs to those given.

    A tag means the first file whose name without folder and last extension equals its name. It
    counts unless the file is among those given, or the same tag came before.

    Args:
        prompt: The main line. It comes back with single commas followed by a blank and without
            runs of blanks, with or without tags.
        given: LoRAs the job has anyway.
        files: Names of the files a tag may mean.
        limit: Largest number of LoRAs. Only applied if a tag adds one.

    Raises:
        InvalidInputError: A weight has more digits than a number can hold.

    Source:
        Behaviour of lllyasviel/Fooocus, modules/util.py.
    """
    by_stem = {PurePosixPath(file).stem: file for file in reversed(files)}
    tags = [match for part in prompt.split(",") for match in _TAG.finditer(part)]
    taken = {lora.name for lora in given}
    found = [
        Lora(name=by_stem[name], weight=_parse_weight(name, weight))
        for name, weight in (match.groups() for match in tags)
        if name in by_stem and by_stem[name] not in taken
    ]
    added = list(dict.fromkeys(found))
    return TaggedPrompt(
        text=_tidy(", ".join(_TAG.sub("", part) for part in prompt.split(","))),
        loras=tuple([*given, *added][:limit] if added else given),
        unknown=tuple(dict.fromkeys(match[1] for match in tags if match[1] not in by_stem)),
    )


def _parse_weight(name: str, digits: str) -> float:
    weight = float(digits)
    if not math.isfinite(weight):
        raise InvalidInputError(f"The weight of the LoRA {name!r} in the prompt is too large.")
    return weight


def _tidy(text: str) -> str:
    text = re.sub(r",+", ",", re.sub(r" +", " ", text))
    return ", ".join(part.strip() for part in text.split(",") if part.strip())
