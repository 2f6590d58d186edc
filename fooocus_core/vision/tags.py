"""Describing drawings by tags, with a WD14 tagger.

Knows neither who asks nor where its files lie.
Source: behaviour of lllyasviel/Fooocus 2.5.5 (its tagger of anime pictures).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.images.arrays import size_of
from fooocus_core.images.resize import resample
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.onnx_file import OnnxNetwork, load_onnx
from fooocus_core.loading.text_file import read_model_text
from fooocus_core.params import Image, Size

MIN_PROBABILITY = 0.35
MIN_CHARACTER_PROBABILITY = 0.85

_GENERAL, _CHARACTER = "0", "4"  # categories in the list of tags
_CHANNELS = 3
_WHITE = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class TagList:
    """What the outputs of a tagger mean, in their order.

    Attributes:
        names: As in the file, with ``_`` for blanks.
        general: Index of the first tag that is about what is to be seen.
        characters: Index of the first tag that is a character's name; all behind it are, too.
    """

    names: tuple[str, ...]
    general: int
    characters: int


class Tagger:
    """Says by tags what is to be seen in a drawing."""

    def __init__(self, network: OnnxNetwork, tags: TagList, *, side: int, name: str) -> None:
        """Take over a network.

        Args:
            side: Of the square that it sees, in pixels.
            name: Of its file, for errors.
        """
        self._network = network
        self._tags = tags
        self._side = side
        self._name = name

    def describe(self, image: Image) -> str:
        """Describe a drawing; see :func:`tag_text`.

        Args:
            image: uint8 (H, W, 3).

        Raises:
            InvalidInputError: The picture is so thin that nothing of it would be left.
            ModelFileError: The network does not give a finite number for each tag.
        """
        probabilities = self._network.run(fit(image, self._side))
        if probabilities.shape != (1, len(self._tags.names)):
            raise ModelFileError(
                f"{self._name} gives {probabilities.size} probabilities, but its list has "
                f"{len(self._tags.names)} tags; the two files do not belong together."
            )
        return tag_text(self._tags, probabilities[0])


def fit(image: Image, side: int) -> NDArray[np.float32]:
    """What a tagger is given of a picture: all of it, in the middle of a white square.

    The picture is resized with a Lanczos filter to ``int(length * side / longer)`` pixels.

    Args:
        image: uint8 (H, W, 3) RGB.
        side: Of the square, in pixels.

    Returns:
        (1, side, side, 3) float32, 0-255, BGR.

    Raises:
        InvalidInputError: The picture is so thin that nothing of it would be left.
    """
    given = size_of(image)
    ratio = side / max(given)
    width, height = inner = Size(*(int(length * ratio) for length in given))
    if min(inner) == 0:
        raise InvalidInputError(
            f"A picture of {given.width}x{given.height} pixels is too thin to be shown in "
            f"{side}x{side}."
        )
    square = np.full((side, side, _CHANNELS), _WHITE, dtype=np.uint8)
    left, top = ((side - length) // 2 for length in inner)
    square[top : top + height, left : left + width] = resample(image, inner)
    return square[None, :, :, ::-1].astype(np.float32)


def tag_text(tags: TagList, probabilities: NDArray[np.float32]) -> str:
    r"""What a tagger has found, as a prompt.

    The characters that are likelier than 0.85, then the general tags that are likelier than 0.35,
    each in the order of the list. Parentheses get a ``\``, ``_`` becomes a blank.

    Args:
        tags: What the numbers are about.
        probabilities: (N,), 0-1.
    """
    names, likelihoods = tags.names, [float(value) for value in probabilities]
    characters = [
        names[index]
        for index in range(tags.characters, len(names))
        if likelihoods[index] > MIN_CHARACTER_PROBABILITY
    ]
    general = [
        names[index]
        for index in range(tags.general, tags.characters)
        if likelihoods[index] > MIN_PROBABILITY
    ]
    text = ", ".join(characters + general)
    return text.replace("(", r"\(").replace(")", r"\)").replace("_", " ")


def load_tagger(network: Path, tags: Path, plan: DevicePlan) -> Tagger:
    """Load a tagger; it computes on the CPU.

    Args:
        network: An ONNX file.
        tags: The list of its tags, as :func:`read_tags` reads it.

    Raises:
        PackageMissingError: ONNX Runtime is not installed.
        ModelFileError: A file is unreadable or not what it should be; names it.
    """
    loaded = load_onnx(network, plan)
    shape = loaded.input_shape
    if len(shape) != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != _CHANNELS:
        raise ModelFileError(f"{network.name} is no tagger: its input has the shape {shape}.")
    return Tagger(loaded, read_tags(tags), side=shape[1], name=network.name)


def read_tags(path: Path) -> TagList:
    """Read a list of tags.

    Args:
        path: A CSV file with a line of headings; the second column is the name, the third the
            category: 0 for general tags, behind these 4 for characters.

    Raises:
        ModelFileError: It is unreadable, or a line or category is missing.
    """
    try:
        rows = list(csv.reader(StringIO(read_model_text(path))))[1:]
        names, categories = tuple(row[1] for row in rows), [row[2] for row in rows]
        general, characters = categories.index(_GENERAL), categories.index(_CHARACTER)
    except (csv.Error, IndexError, ValueError) as error:
        raise ModelFileError(f"{path.name} is no list of tags with their categories.") from error
    if general > characters:
        raise ModelFileError(f"{path.name} names characters before general tags.")
    return TagList(names=names, general=general, characters=characters)
