"""Finding the faces of a picture, and cropping it to the best of them, turned upright.

Knows neither how the network is built nor what the cropped face is for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fooocus_core.downloads import FACE_FINDER
from fooocus_core.errors import (
    DeviceMemoryError,
    InvalidInputError,
    ModelFileError,
)
from fooocus_core.images.arrays import size_of
from fooocus_core.images.sizes import check_searchable
from fooocus_core.loading.filling import fill_weights, naming_part
from fooocus_core.loading.weight_file import Tensors, read_weights
from fooocus_core.main_memory import available_bytes
from fooocus_core.params import Image, Size
from fooocus_core.vision.retinaface import STRIDES, Check, Predictions, RetinaFace

CROP_SIDE = 512

# Where the landmarks of the face come to lie in the cropped picture.
FACE_TEMPLATE = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)

_PREFIX = "module."
_ANCHOR_SIDES = ((16, 32), (64, 128), (256, 512))
_MEAN_BGR = (104.0, 117.0, 123.0)
_CENTRE_VARIANCE = 0.1
_SIZE_VARIANCE = 0.2
_MIN_SCORE = 0.97
_MAX_OVERLAP = 0.4
_BORDER_RGB = (132, 133, 135)
# Measured; the largest part are the features of the first stage.
_BYTES_PER_PIXEL = 300

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """A face in a picture; places are in its pixels and may lie outside of it.

    Attributes:
        box: Left, top, right, bottom, (4,) float32.
        score: How certain it is, 0.0-1.0.
        landmarks: x and y of left eye, right eye, nose, left and right corner of the mouth, as seen
            in the picture; (5, 2) float32.
    """

    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]


class FaceFinder:
    """Finds faces; computes on the CPU, as the reference does, so the crop is the same anywhere."""

    def __init__(
        self,
        network: Callable[[Tensor, Check], Predictions],
        available: Callable[[], int | None] = available_bytes,
    ) -> None:
        """``available`` tells how much main memory can be had; ``None`` = nobody knows."""
        self._network = network
        self._available = available

    def crop_best(self, image: Image, check: Check = lambda: None) -> Image:
        """Crop a picture to the face found with the highest score.

        Args:
            image: (H, W, 3) RGB.
            check: Called many times; may raise in order to stop.

        Returns:
            (512, 512, 3) RGB, as :func:`align_face` makes it; ``image`` itself if there is no face.

        Raises:
            InvalidInputError, DeviceMemoryError, ModelFileError: As :meth:`find`; the first also as
                :func:`align_face`.
        """
        faces = self.find(image, check)
        if not faces:
            _log.info("No face was found in the picture; it is used as it is.")
            return image
        return align_face(image, faces[0].landmarks)

    @torch.no_grad()
    def find(self, image: Image, check: Check = lambda: None) -> list[Face]:
        """Find the faces of a picture in its own size, best first.

        Args:
            image: (H, W, 3) RGB of any size.
            check: Called many times; may raise in order to stop.

        Raises:
            InvalidInputError: A side is longer than 32766 pixels.
            DeviceMemoryError: The picture needs more main memory than there is.
            ModelFileError: The network gave values that are not finite.
        """
        size = size_of(image)
        check_searchable(size)
        self._check_memory(size)
        predictions = self._network(_to_input(image), check)
        _check_finite(predictions)
        return decode_faces(predictions, size)

    def _check_memory(self, size: Size) -> None:
        # Main memory that is only promised ends the whole process when it is used.
        needed, available = size.width * size.height * _BYTES_PER_PIXEL, self._available()
        if available is not None and needed > available:
            raise DeviceMemoryError(
                f"To find faces in a picture of {size.width}x{size.height} pixels takes about "
                f"{needed / 2**30:.1f} GiB of main memory, but only {available / 2**30:.1f} GiB "
                "are available; use a smaller picture."
            )


def decode_faces(predictions: Predictions, size: Size) -> list[Face]:
    """Turn predictions into the faces with a score above 0.97, best first.

    Of faces that overlap (intersection over union above 0.4) only the best is kept. Of equal
    scores, the later anchor comes first.

    Args:
        predictions: Of the network, float32, for a picture of ``size``.

    Source:
        arXiv:1512.02325, section 2.2, with variances 0.1 and 0.2; landmarks likewise, as centres.
    """
    scores = predictions.probabilities[:, 1]
    # Reversed after a stable sort: the order of equal scores that the reference has.
    order = scores.argsort(stable=True).flip(0)
    order = order[scores[order] > _MIN_SCORE]
    anchors = make_anchors(size)[order]
    boxes = _decode_boxes(predictions.offsets[order], anchors)
    landmarks = _decode_centres(predictions.landmarks[order].view(-1, 5, 2), anchors[:, None])
    pixels = torch.tensor(size, dtype=torch.float32)
    boxes, landmarks = boxes * pixels.repeat(2), landmarks * pixels
    return [
        Face(
            box=boxes[index].numpy(),
            score=float(scores[order[index]]),
            landmarks=landmarks[index].numpy(),
        )
        for index in _without_overlaps(boxes)
    ]


def make_anchors(size: Size) -> Tensor:
    """The places where the network looks for faces: two squares at each point of three grids.

    Returns:
        (N, 4) float32: x and y of the centre, width and height, as shares of the picture's sides;
        in the order of the network's predictions.
    """
    width, height = size
    levels = []
    for stride, sides in zip(STRIDES, _ANCHOR_SIDES, strict=True):
        # float64 until the end, as the reference.
        x = (np.arange(ceil(width / stride)) + 0.5) * stride / width
        y = (np.arange(ceil(height / stride)) + 0.5) * stride / height
        anchors = np.empty((len(y), len(x), len(sides), 4), dtype=np.float32)
        anchors[..., 0] = x[None, :, None]
        anchors[..., 1] = y[:, None, None]
        anchors[..., 2] = np.array(sides) / width
        anchors[..., 3] = np.array(sides) / height
        levels.append(anchors.reshape(-1, 4))
    return torch.from_numpy(np.concatenate(levels))


def align_face(image: Image, landmarks: NDArray[np.floating]) -> Image:
    """Move, turn and scale a picture so that the landmarks lie as in :data:`FACE_TEMPLATE`.

    Args:
        image: (H, W, 3) RGB, no side longer than 32766.
        landmarks: (5, 2), see :class:`Face`.

    Returns:
        (512, 512, 3) RGB; grey where the picture ends.

    Raises:
        InvalidInputError: The landmarks all lie at one point.

    Source:
        Least median of squares for a similarity of four parameters, with bilinear interpolation.
    """
    matrix = align_matrix(landmarks)
    return cv2.warpAffine(
        image,
        matrix,
        (CROP_SIDE, CROP_SIDE),
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_BORDER_RGB,
    ).astype(np.uint8)


def align_matrix(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """The similarity from landmarks to :data:`FACE_TEMPLATE`, (2, 3); see :func:`align_face`."""
    template = np.array(FACE_TEMPLATE)
    matrix = cv2.estimateAffinePartial2D(landmarks, template, method=cv2.LMEDS)[0]
    if matrix is None:
        raise InvalidInputError(
            "The face found in the picture cannot be turned upright, since its eyes, nose and "
            "mouth lie at one point; use another picture."
        )
    return matrix.astype(np.float64)


def load_face_finder(path: Path) -> FaceFinder:
    """Load the face finder from its file.

    Raises:
        ModelFileError: The file is unreadable or not this network.
    """
    file = read_weights(path)
    with naming_part(path, "face finder"):
        return FaceFinder(build_network(file.tensors, torch.device("cpu")))


def build_network(tensors: Tensors, device: torch.device) -> RetinaFace:
    """Make the network, and give it tensors in float32.

    Args:
        tensors: As in the published file; ``module.`` before each name may be missing.

    Raises:
        ModelFileError: Entries are missing, unexpected or of a wrong shape.
    """
    state = {
        name.removeprefix(_PREFIX): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    with torch.device("meta"):
        network = RetinaFace()
    fill_weights(network, state, device)
    return network


def _to_input(image: Image) -> Tensor:
    values = image[..., ::-1].astype(np.float32)
    values -= np.array(_MEAN_BGR, dtype=np.float32)
    return torch.from_numpy(values).permute(2, 0, 1).unsqueeze(0).contiguous()


def _check_finite(predictions: Predictions) -> None:
    values = (predictions.offsets, predictions.probabilities, predictions.landmarks)
    if not all(bool(torch.isfinite(part).all()) for part in values):
        raise ModelFileError(
            f"{FACE_FINDER.name} gave values that are not finite, so no face can be found; the "
            "file is damaged."
        )


def _decode_centres(offsets: Tensor, anchors: Tensor) -> Tensor:
    return anchors[..., :2] + offsets * _CENTRE_VARIANCE * anchors[..., 2:]


def _decode_boxes(offsets: Tensor, anchors: Tensor) -> Tensor:
    """Left, top, right, bottom."""
    centres = _decode_centres(offsets[:, :2], anchors)
    sides = anchors[:, 2:] * torch.exp(offsets[:, 2:] * _SIZE_VARIANCE)
    corners = centres - sides / 2
    return torch.cat([corners, corners + sides], dim=1)


def _without_overlaps(boxes: Tensor) -> list[int]:
    """Which boxes, best first, overlap none that is kept before them."""
    kept: list[int] = []
    remaining = torch.arange(len(boxes))
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(int(best))
        overlaps = _overlaps(boxes[best], boxes[remaining])
        remaining = remaining[overlaps <= _MAX_OVERLAP]
    return kept


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of a box with others, (N,)."""
    inner = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    shared = inner.clamp(min=0).prod(dim=1)
    return shared / (_area(box) + _area(others) - shared)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
