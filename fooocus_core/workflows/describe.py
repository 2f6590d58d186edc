"""From a picture to words."""

from __future__ import annotations

import torch

from fooocus_core.choices import DescribeKind
from fooocus_core.downloads import describe_files
from fooocus_core.params import Image
from fooocus_core.workflows.resources import Resources


def describe(image: Image, kind: DescribeKind, resources: Resources) -> str:
    """Say what a picture shows: a photograph in a sentence, a drawing by tags.

    The words of a sentence are drawn, each time others.

    Args:
        image: uint8 (H, W, 3).

    Raises:
        InvalidInputError: The picture is too thin to be described.
        ModelNotFoundError: A file is missing, and may not be fetched.
        DownloadError: A file could not be fetched.
        ModelFileError: A file cannot be used.
        PackageMissingError: What computes the network is not installed.
        DeviceMemoryError: The device has not enough memory.
    """
    resources.require(describe_files(kind))
    if kind is DescribeKind.ANIME:
        return resources.auxiliary.tagger().describe(image)
    captioner = resources.auxiliary.captioner()
    resources.models.bring_image_reader(captioner.network)
    generator = torch.Generator(resources.models.plan.device)
    generator.seed()
    return captioner.describe(image, generator)
