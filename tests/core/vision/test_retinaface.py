"""The face network: the published file's names and shapes, and what it gives for any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fooocus_core.errors import RunCancelled
from fooocus_core.vision.retinaface import RetinaFace
from tests.golden import load_json


@pytest.fixture(scope="module")
def network() -> RetinaFace:
    """Full-sized, with seeded weights and norms that are not neutral."""
    torch.manual_seed(5)
    made = RetinaFace().eval().requires_grad_(requires_grad=False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(std=0.1)
    return made


def test_the_published_file_fits() -> None:
    with torch.device("meta"):
        own = RetinaFace().state_dict()

    assert {name: list(tensor.shape) for name, tensor in own.items()} == {
        name: shape for name, (_, shape) in load_json("manifests/retinaface_resnet50").items()
    }


@pytest.mark.parametrize(
    ("height", "width", "anchors"),
    [(1, 1, 6), (7, 33, 20), (64, 64, 168)],
    ids=str,
)
def test_every_anchor_gets_a_prediction(
    height: int, width: int, anchors: int, network: RetinaFace
) -> None:
    predictions = network(torch.zeros(1, 3, height, width))

    assert predictions.offsets.shape == (anchors, 4)
    assert predictions.landmarks.shape == (anchors, 10)
    torch.testing.assert_close(predictions.probabilities.sum(dim=1), torch.ones(anchors))


def test_the_network_is_that_of_the_paper(network: RetinaFace) -> None:
    pixels = 50 * torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(2))

    predictions = network(pixels)
    expected = by_hand(network.state_dict(), pixels)

    torch.testing.assert_close(predictions.offsets, expected["BboxHead"])
    torch.testing.assert_close(predictions.probabilities, expected["ClassHead"].softmax(dim=1))
    torch.testing.assert_close(predictions.landmarks, expected["LandmarkHead"])


def test_a_stop_is_seen_in_the_middle(network: RetinaFace) -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 9:
            raise RunCancelled

    with pytest.raises(RunCancelled):
        network(torch.zeros(1, 3, 16, 16), check)


def by_hand(state: dict[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    """The same network in functions on the file's entries."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        x = functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        factor = state[f"{norm}.weight"] / (variance + 1e-5).sqrt()
        return (x - mean.view(-1, 1, 1)) * factor.view(-1, 1, 1) + state[f"{norm}.bias"].view(
            -1, 1, 1
        )

    def pair(x: Tensor, name: str) -> Tensor:
        return conv(x, f"{name}.0", f"{name}.1")

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        inner = conv(x, f"{name}.conv1", f"{name}.bn1").relu()
        inner = conv(inner, f"{name}.conv2", f"{name}.bn2", stride).relu()
        inner = conv(inner, f"{name}.conv3", f"{name}.bn3")
        if f"{name}.downsample.0.weight" in state:
            x = conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return (inner + x).relu()

    def context(x: Tensor, name: str) -> Tensor:
        five = pair(x, f"{name}.conv5X5_1").relu()
        seven = pair(five, f"{name}.conv7X7_2").relu()
        parts = [
            pair(x, f"{name}.conv3X3"),
            pair(five, f"{name}.conv5X5_2"),
            pair(seven, f"{name}.conv7x7_3"),
        ]
        return torch.cat(parts, dim=1).relu()

    def head(x: Tensor, name: str) -> Tensor:
        values = functional.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])
        # Rows, columns, anchors, values.
        anchors = values.unflatten(1, (2, -1)).permute(0, 3, 4, 1, 2)
        return anchors.flatten(0, 3)

    x = conv(pixels, "body.conv1", "body.bn1", 2).relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    stages = []
    for number, blocks in enumerate((3, 4, 6, 3), start=1):
        for index in range(blocks):
            stride = 2 if number > 1 and index == 0 else 1
            x = block(x, f"body.layer{number}.{index}", stride)
        stages.append(x)
    first, second, third = (pair(stages[place], f"fpn.output{place}").relu() for place in (1, 2, 3))
    second = second + functional.interpolate(third, second.shape[2:])
    second = pair(second, "fpn.merge2").relu()
    first = first + functional.interpolate(second, first.shape[2:])
    first = pair(first, "fpn.merge1").relu()
    features = [
        context(level, f"ssh{place}") for place, level in enumerate((first, second, third), start=1)
    ]
    return {
        name: torch.cat([head(x, f"{name}.{place}.conv1x1") for place, x in enumerate(features)])
        for name in ("BboxHead", "ClassHead", "LandmarkHead")
    }
