"""The safety checker: what it is given, how it judges, and the file it is loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.loading.weight_file import WeightFile
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import normalised
from fooocus_core.vision.safety import (
    Concepts,
    SafetyChecker,
    build_safety_checker,
    load_safety_checker,
    shows_concept,
)
from tests.golden import assert_matches, load_arrays, load_picture
from tests.networks import CPU_PLAN, manifest_tensors
from tests.safety_files import small_tensors, write_checker

PREPARED = load_arrays("image-ops/preprocess")
RECORDED = load_arrays("image-ops/safety_scores")
META = replace(CPU_PLAN, device=torch.device("meta"))
NO_CONCEPTS = Concepts(directions=torch.empty(0, 2), thresholds=torch.empty(0))


def file_of(tensors: dict[str, Tensor]) -> WeightFile:
    return WeightFile(path=Path("checker.bin"), tensors=tensors, metadata={})


def built(tensors: dict[str, Tensor]) -> SafetyChecker:
    return build_safety_checker(file_of(tensors), CPU_PLAN)


def recorded(name: str) -> Concepts:
    directions = torch.from_numpy(RECORDED[f"{name}_embeds"])
    weights = RECORDED[f"{name.removesuffix('_care')}_weights"]
    return Concepts(directions=directions, thresholds=torch.from_numpy(weights))


def about(*cosines: float) -> Concepts:
    """Concepts that lie so near to the direction (1, 0), with a threshold of 0.5 each."""
    values = torch.tensor(cosines)
    directions = torch.stack([values, (1 - values**2).sqrt()], dim=1)
    return Concepts(directions=3 * directions, thresholds=torch.full((len(cosines),), 0.5))


@pytest.fixture(scope="module")
def published() -> SafetyChecker:
    """The published network without memory."""
    return build_safety_checker(file_of(manifest_tensors("safety_checker", "")), META)


@pytest.mark.parametrize("index", range(6))
def test_pictures_are_judged_as_recorded(index: int) -> None:
    embedding = torch.from_numpy(RECORDED["image_embeds"][index])

    flagged = shows_concept(
        embedding, special=recorded("special_care"), concepts=recorded("concept")
    )

    assert flagged == RECORDED["nsfw"][index]


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_pictures_are_cropped_and_normalised_as_recorded(
    case: str, published: SafetyChecker
) -> None:
    square = published.fit(PREPARED[f"{case}_image"])

    pixels = normalised(to_pixels(square))[0, :, ::8, ::8]
    assert_matches(pixels, PREPARED[f"{case}_safety_pixel_values_sub"], 1e-5)


@pytest.mark.parametrize(
    ("special", "cosine", "expected"),
    [
        ((), 0.5004, False),
        ((), 0.5006, True),
        ((0.4,), 0.495, False),
        ((0.6,), 0.495, True),
        ((0.6,), 0.4904, False),
        ((0.6, 0.495), 0.4906, True),
    ],
    ids=["rounds to 0", "rounds up", "no care", "care", "care is 0.01", "care is not added twice"],
)
def test_what_special_care_is_taken_of_lowers_the_threshold(
    special: tuple[float, ...], cosine: float, expected: bool
) -> None:
    towards = about(*special) if special else NO_CONCEPTS

    flagged = shows_concept(torch.tensor([2.0, 0.0]), special=towards, concepts=about(cosine))

    assert flagged is expected


def test_a_special_concept_alone_makes_nothing_unsafe() -> None:
    assert not shows_concept(torch.tensor([1.0, 0.0]), special=about(0.9), concepts=about(0.1))


def test_the_published_file_fits_with_nothing_left_over(published: SafetyChecker) -> None:
    config = published.network.config

    # Without position_ids and the four entries of the concepts.
    assert len(published.network.state_dict()) == 397 - 5
    assert (config.num_hidden_layers, config.num_attention_heads) == (24, 16)
    assert (config.image_size, config.patch_size, config.projection_dim) == (224, 14, 768)
    assert (config.hidden_act, config.layer_norm_eps) == ("quick_gelu", 1e-5)


@pytest.mark.parametrize(("threshold", "expected"), [(2.0, False), (-2.0, True)])
def test_the_thresholds_of_the_file_decide(
    threshold: float, expected: bool, tmp_path: Path
) -> None:
    checker = load_safety_checker(write_checker(tmp_path / "checker.bin", threshold), CPU_PLAN)

    assert checker.is_unsafe(load_picture("ip_a")) is expected


def test_the_picture_decides() -> None:
    tensors = small_tensors()
    one, other = load_picture("photo_a"), np.zeros((64, 96, 3), np.uint8)
    checker = built(tensors)
    with torch.no_grad():
        embedding = checker.network(normalised(to_pixels(checker.fit(one)))).image_embeds[0]
    tensors["concept_embeds"] = embedding.repeat(17, 1)
    tensors["concept_embeds_weights"] = torch.full((17,), 0.999)

    judged = [built(tensors).is_unsafe(image) for image in (one, other)]

    assert judged == [True, False]


def test_a_checker_computes_in_float32_whatever_the_plan() -> None:
    plan = replace(CPU_PLAN, small=torch.bfloat16)

    checker = build_safety_checker(file_of(small_tensors()), plan)

    assert {t.dtype for t in checker.network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"concept_embeds": None}, "Missing entries: concept_embeds"),
        ({"special_care_embeds_weights": torch.ones(2)}, r"shape \(3, 24\), needed is \(2, 24\)"),
        ({"concept_embeds": torch.ones(17)}, r"shape \(17,\), needed is \(17, 24\)"),
        ({"concept_embeds": torch.ones(17, 5)}, r"shape \(17, 5\), needed is \(17, 24\)"),
        ({"odd": torch.ones(1)}, "Unexpected entries: odd"),
        ({"visual_projection.weight": None}, "visual_projection.weight is missing"),
        ({"vision_model.vision_model.post_layernorm.bias": None}, "Missing entries"),
    ],
    ids=["concepts", "thresholds", "flat", "width", "unexpected", "projection", "missing"],
)
def test_a_file_with_wrong_entries_is_an_error_naming_it(
    changes: dict[str, Tensor | None], message: str
) -> None:
    wrong = {n: t for n, t in {**small_tensors(), **changes}.items() if t is not None}

    with pytest.raises(ModelFileError, match=rf"checker\.bin.*{message}"):
        built(wrong)


def test_weights_that_are_no_numbers_are_noticed() -> None:
    tensors = small_tensors()
    name = "vision_model.vision_model.embeddings.class_embedding"
    tensors[name] = torch.full_like(tensors[name], float("nan"))

    with pytest.raises(ModelFileError, match=r"checker\.bin.*not finite"):
        built(tensors).is_unsafe(load_picture("ip_a"))


def test_a_missing_or_damaged_file_is_an_error(tmp_path: Path) -> None:
    damaged = write_checker(tmp_path / "damaged.bin", 1.0)
    damaged.write_bytes(damaged.read_bytes()[:2000])

    for path in (damaged, tmp_path / "none.bin"):
        with pytest.raises(ModelFileError, match=path.name):
            load_safety_checker(path, CPU_PLAN)


def test_a_picture_too_thin_to_be_checked_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="400000x1 .*too thin"):
        built(small_tensors()).is_unsafe(np.zeros((1, 400_000, 3), np.uint8))
