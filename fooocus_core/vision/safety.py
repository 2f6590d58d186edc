"""Telling pictures that are not safe for work: the safety checker of Stable Diffusion.

Knows neither when pictures are checked nor what becomes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from fooocus_core.errors import ModelFileError
from fooocus_core.images.resize import crop_middle
from fooocus_core.loading.architecture import clip_vision_config
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.key_maps import without_clip_extras
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.params import Image
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import normalised

# Added to every score once a picture shows what special care is taken of.
_CARE = 0.01
_DIGITS = 3
_TOWER = "vision_model."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concepts:
    """What pictures are compared with.

    Attributes:
        directions: (N, D) float32, of any length.
        thresholds: Cosine from which on a picture shows a concept, (N,) float32.
    """

    directions: Tensor
    thresholds: Tensor


class SafetyChecker:
    """Looks whether a picture shows one of the concepts that its file lists."""

    def __init__(
        self,
        network: CLIPVisionModelWithProjection,
        *,
        side: int,
        special: Concepts,
        concepts: Concepts,
        name: str,
    ) -> None:
        """Take over a network, which has to be where it computes when a picture is checked.

        Args:
            side: Of the square that the network sees, in pixels.
            special: What lowers the thresholds of everything that is compared after it.
            concepts: What makes a picture unsafe.
            name: Of the network's file, for errors.
        """
        self.network = network
        self._side = side
        self._special = special
        self._concepts = concepts
        self._name = name

    @torch.no_grad()
    def is_unsafe(self, image: Image) -> bool:
        """Whether a picture is not safe for work.

        Args:
            image: uint8 (H, W, 3), of any size.

        Raises:
            InvalidInputError: The picture is too thin, see :func:`crop_middle`.
            DeviceMemoryError: The device has not enough memory.
            ModelFileError: The network gave values that are not finite.
        """
        with memory_errors("checking a picture"):
            pixels = normalised(to_pixels(self.fit(image)))
            place = self.network.vision_model.embeddings.class_embedding
            embedding = self.network(pixels.to(place)).image_embeds[0].float().cpu()
        if not torch.isfinite(embedding).all():
            raise ModelFileError(
                f"{self._name} gave values that are not finite; the file is damaged."
            )
        return shows_concept(embedding, special=self._special, concepts=self._concepts)

    def fit(self, image: Image) -> Image:
        """What the network sees of a picture: the square in its middle.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            uint8 (S, S, 3); S = 224 for the published network.

        Raises:
            InvalidInputError: The picture is too thin, see :func:`crop_middle`.
        """
        return crop_middle(image, self._side)


def shows_concept(embedding: Tensor, *, special: Concepts, concepts: Concepts) -> bool:
    """Whether what a picture is about is near a concept.

    Scores are ``round(cosine - threshold + adjustment, 3)`` in float64, the cosine in float32. The
    adjustment is 0 until a special concept has a score above 0, and 0.01 from the next one on; the
    picture shows a concept if the score of one of ``concepts`` is above 0.

    Args:
        embedding: (D,) float32.

    Source:
        The safety checker of CompVis/stable-diffusion, as diffusers publishes it (Apache-2.0).
    """
    adjustment = 0.0
    for margin in _margins(embedding, special):
        if np.round(margin + adjustment, _DIGITS) > 0:
            adjustment = _CARE
    return bool((np.round(_margins(embedding, concepts) + adjustment, _DIGITS) > 0).any())


def load_safety_checker(path: Path, plan: DevicePlan) -> SafetyChecker:
    """Load a safety checker to where the plan has networks of its device wait.

    Args:
        path: A file in the naming of the published one.
        plan: Device; the network computes in float32 everywhere, so that a picture is judged alike.

    Raises:
        ModelFileError: The file is unreadable or not such a checker; names it.
        DeviceMemoryError: The device has not enough memory.
    """
    return build_safety_checker(read_weights(path), plan)


def build_safety_checker(file: WeightFile, plan: DevicePlan) -> SafetyChecker:
    """As :func:`load_safety_checker`, from a file that is open."""
    home = plan.home_of(plan.device)
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "safety checker"):
        weights = without_clip_extras(file.tensors)
        state = {
            # The tower lies in a module of its own name there.
            name.removeprefix(_TOWER) if name.startswith(_TOWER * 2) else name: weight
            for name, weight in weights.items()
        }
        sizes = {
            **clip_vision_config(state),
            "hidden_act": "quick_gelu",
            "attn_implementation": "eager",
        }
        width = sizes["projection_dim"]
        special = _take_concepts(state, "special_care_embeds", width)
        concepts = _take_concepts(state, "concept_embeds", width)
        with without_memory():
            network = CLIPVisionModelWithProjection(CLIPVisionConfig(**sizes))
        state = {name: weight.to(home, torch.float32) for name, weight in state.items()}
        fill_weights(network, state, home)
    return SafetyChecker(
        network,
        side=sizes["image_size"],
        special=special,
        concepts=concepts,
        name=file.path.name,
    )


def _take_concepts(state: dict[str, Tensor], name: str, width: int) -> Concepts:
    """Take an entry and its thresholds out of the weights of a network."""
    directions, thresholds = state.pop(name), state.pop(f"{name}_weights")
    if directions.shape != (len(thresholds), width):
        raise ModelFileError(
            f"{name} has shape {tuple(directions.shape)}, needed is {(len(thresholds), width)}"
        )
    return Concepts(directions=directions.float(), thresholds=thresholds.float())


def _margins(embedding: Tensor, concepts: Concepts) -> NDArray[np.float64]:
    """Cosine minus threshold for each concept, (N,)."""
    directions = functional.normalize(concepts.directions)
    cosines = directions @ functional.normalize(embedding, dim=0)
    margins: NDArray[np.float64] = (cosines.double() - concepts.thresholds.double()).numpy()
    return margins
