"""Faces: decoding and alignment against the vectors, the crop, and the file it is loaded from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from fooocus_core.downloads import FACE_FINDER
from fooocus_core.errors import (
    DeviceMemoryError,
    InvalidInputError,
    ModelFileError,
    RunCancelled,
)
from fooocus_core.images.arrays import size_of
from fooocus_core.params import Image, Size
from fooocus_core.vision.face import (
    FACE_TEMPLATE,
    FaceFinder,
    align_face,
    align_matrix,
    build_network,
    decode_faces,
    load_face_finder,
    make_anchors,
)
from fooocus_core.vision.retinaface import Check, Predictions, RetinaFace
from tests.golden import load_arrays
from tests.networks import manifest_tensors

DECODING = load_arrays("image-ops/retinaface_decode")
ALIGNMENT = load_arrays("image-ops/face_align")
SIZE = Size(84, 100)
GIB = 2**30


def recorded_predictions() -> Predictions:
    return Predictions(
        offsets=torch.from_numpy(DECODING["loc"][0]),
        probabilities=torch.from_numpy(DECODING["conf"][0]),
        landmarks=torch.from_numpy(DECODING["landms"][0]),
    )


def predictions_for(size: Size, scores: dict[int, float]) -> Predictions:
    """Anchors as they are, landmarks like the template's, a score for some of them."""
    count = len(make_anchors(size))
    face = torch.zeros(count)
    for anchor, score in scores.items():
        face[anchor] = score
    spread = torch.tensor(FACE_TEMPLATE, dtype=torch.float32).flatten() / 25.6 - 10.0
    return Predictions(
        offsets=torch.zeros(count, 4),
        probabilities=torch.stack([1 - face, face], dim=1),
        landmarks=spread.repeat(count, 1),
    )


class Scripted:
    """Gives certain anchors a score; remembers what it was shown."""

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores
        self.pixels: list[Tensor] = []

    def __call__(self, pixels: Tensor, check: Check) -> Predictions:
        check()
        self.pixels.append(pixels)
        height, width = pixels.shape[-2:]
        return predictions_for(Size(width, height), self.scores)


def picture(height: int, width: int) -> Image:
    values = np.random.Generator(np.random.PCG64(height)).integers(0, 256, (height, width, 3))
    return values.astype(np.uint8)


def finder_for(tensors: dict[str, Tensor]) -> FaceFinder:
    return FaceFinder(build_network(tensors, torch.device("cpu")))


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """Seeded entries, named and shaped as in the published file; certain of a face everywhere."""
    torch.manual_seed(1)
    state = RetinaFace().state_dict()
    for level in range(3):
        state[f"ClassHead.{level}.conv1x1.bias"] = torch.tensor([-9.0, 9.0] * 2)
    return {f"module.{name}": tensor for name, tensor in state.items()}


def test_recorded_anchors() -> None:
    assert_array_equal(make_anchors(SIZE).numpy(), DECODING["priors"], strict=True)


def test_recorded_faces() -> None:
    faces = decode_faces(recorded_predictions(), SIZE)

    rows = [[*face.box, face.score, *face.landmarks.flatten()] for face in faces]
    assert_allclose(rows, DECODING["detections"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("number", range(2))
def test_recorded_alignment(number: int) -> None:
    matrix = align_matrix(ALIGNMENT[f"c{number}_landmarks"])

    assert_allclose(matrix, ALIGNMENT[f"c{number}_matrix"], atol=1e-9, rtol=0)


@pytest.mark.parametrize("number", range(2))
def test_recorded_crop(number: int) -> None:
    image, landmarks = ALIGNMENT[f"c{number}_image_rgb"], ALIGNMENT[f"c{number}_landmarks"]

    crop = align_face(image, landmarks)

    assert crop.shape == (512, 512, 3)
    assert_array_equal(crop[::8, ::8], ALIGNMENT[f"c{number}_crop_rgb_sub"], strict=True)


def test_recorded_template() -> None:
    assert_array_equal(np.array(FACE_TEMPLATE), ALIGNMENT["template"], strict=True)


def test_of_overlapping_faces_the_best_is_kept() -> None:
    # Squares of 64 pixels, 16 apart: the third overlaps only the second too much.
    size = Size(160, 160)
    scores = {800: 0.99, 802: 0.98, 804: 0.975}

    kept = decode_faces(predictions_for(size, scores), size)

    assert [round(face.score, 3) for face in kept] == [0.99, 0.975]


@pytest.mark.parametrize(
    ("shift", "count"), [(0.0, 1), (6.8, 1), (6.9, 2)], ids=["same", "above 0.4", "below 0.4"]
)
def test_faces_overlap_from_two_fifths_of_what_they_cover(shift: float, count: int) -> None:
    # Two squares of 16 pixels, moved on from the same place.
    size = Size(160, 160)
    predictions = predictions_for(size, {0: 0.98, 2: 0.99})
    predictions.offsets[2, 0] = (shift - 8.0) / 16 / 0.1

    assert len(decode_faces(predictions, size)) == count


@pytest.mark.parametrize(("score", "count"), [(0.9699, 0), (0.9701, 1)])
def test_only_certain_faces_count(score: float, count: int) -> None:
    assert len(decode_faces(predictions_for(SIZE, {7: score}), SIZE)) == count


def test_of_equal_scores_the_later_anchor_is_first() -> None:
    size = Size(160, 160)

    faces = decode_faces(predictions_for(size, {0: 1.0, 20: 1.0}), size)

    assert [face.box[0] for face in faces] == pytest.approx([76.0, -4.0])


def test_a_picture_is_cropped_to_its_best_face() -> None:
    image = picture(160, 160)
    finder = FaceFinder(Scripted({0: 0.98, 20: 0.99}))

    crop = finder.crop_best(image)

    best = decode_faces(predictions_for(size_of(image), {20: 0.99}), size_of(image))[0]
    assert_array_equal(crop, align_face(image, best.landmarks), strict=True)


def test_a_picture_without_a_face_stays_as_it_is() -> None:
    image = picture(20, 30)

    assert FaceFinder(Scripted({})).crop_best(image) is image


def test_the_network_sees_blue_green_red_less_their_mean() -> None:
    network, image = Scripted({}), picture(3, 5)

    FaceFinder(network).find(image)

    red, green, blue = image.astype(np.float32).transpose(2, 0, 1)
    expected = np.stack([blue - 104, green - 117, red - 123])[None]
    assert_array_equal(network.pixels[0].numpy(), expected, strict=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (7, 9)], ids=str)
def test_pictures_smaller_than_the_grids_are_searched(
    shape: tuple[int, int], tensors: dict[str, Tensor]
) -> None:
    crop = finder_for(tensors).crop_best(picture(*shape))

    assert crop.shape == (512, 512, 3)


def test_a_face_without_extent_cannot_be_cropped() -> None:
    with pytest.raises(InvalidInputError, match="lie at one point"):
        align_face(picture(9, 9), np.full((5, 2), 4.0))


@pytest.mark.parametrize("shape", [(1, 32767), (32767, 1)], ids=str)
def test_a_picture_too_long_for_the_crop_is_refused(shape: tuple[int, int]) -> None:
    network = Scripted({0: 1.0})

    with pytest.raises(InvalidInputError, match="side may have 32766"):
        FaceFinder(network).find(np.zeros((*shape, 3), np.uint8))

    assert network.pixels == []


def test_the_longest_side_allowed_can_be_cropped() -> None:
    image = np.zeros((2, 32766, 3), np.uint8)

    assert FaceFinder(Scripted({0: 1.0})).crop_best(image).shape == (512, 512, 3)


def test_a_picture_larger_than_the_memory_is_refused_before_it_is_searched() -> None:
    network = Scripted({})
    # A view of a single pixel: 80 million pixels without their memory.
    image = np.broadcast_to(np.zeros(3, np.uint8), (8000, 10000, 3))

    with pytest.raises(DeviceMemoryError, match=r"10000x8000.*22\.4 GiB.*only 16\.0 GiB"):
        FaceFinder(network, lambda: 16 * GIB).find(image)

    assert network.pixels == []


@pytest.mark.parametrize("available", [300 * 20 * 30, None], ids=["just enough", "not known"])
def test_a_picture_that_fits_is_searched(available: int | None) -> None:
    network = Scripted({})

    FaceFinder(network, lambda: available).find(picture(20, 30))

    assert len(network.pixels) == 1


def test_a_stop_is_seen() -> None:
    def stop() -> None:
        raise RunCancelled

    with pytest.raises(RunCancelled):
        FaceFinder(Scripted({})).crop_best(picture(9, 9), stop)


def test_the_published_file_fits() -> None:
    published = manifest_tensors("retinaface_resnet50", "")
    renamed = {f"module.{name}": tensor for name, tensor in published.items()}

    network = build_network(renamed, torch.device("meta"))

    assert len(network.state_dict()) == 456


def test_a_file_is_loaded(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / FACE_FINDER.name)
    image = picture(20, 20)

    crop = load_face_finder(tmp_path / FACE_FINDER.name).crop_best(image)

    assert crop.shape == (512, 512, 3)
    assert_array_equal(crop, finder_for(tensors).crop_best(image), strict=True)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FACE_FINDER.name).write_bytes(b"PK\x03\x04 and no more")

    with pytest.raises(ModelFileError, match=FACE_FINDER.name):
        load_face_finder(tmp_path / FACE_FINDER.name)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({}, "Missing entries: body.conv1.weight"),
        ({"module.fc.weight": torch.zeros(1)}, "Unexpected entries: fc.weight"),
        ({"module.ClassHead.0.conv1x1.bias": torch.zeros(6)}, "has shape"),
    ],
    ids=["missing", "extra", "other heads"],
)
def test_a_file_of_another_network_is_an_error(
    entries: dict[str, Tensor], complaint: str, tmp_path: Path
) -> None:
    published = manifest_tensors("retinaface_resnet50", "") if entries else {"other": torch.ones(1)}
    # One stored number stands for each tensor.
    small = {f"module.{name}": torch.zeros(()).expand(t.shape) for name, t in published.items()}
    torch.save(small | entries, tmp_path / FACE_FINDER.name)

    with pytest.raises(ModelFileError, match=rf"{FACE_FINDER.name}.*{complaint}"):
        load_face_finder(tmp_path / FACE_FINDER.name)


def test_weights_that_are_not_finite_find_nothing_but_are_an_error(
    tensors: dict[str, Tensor],
) -> None:
    damaged = tensors | {"module.fpn.merge1.1.bias": torch.full((256,), float("nan"))}

    with pytest.raises(ModelFileError, match="not finite"):
        finder_for(damaged).crop_best(picture(8, 8))
