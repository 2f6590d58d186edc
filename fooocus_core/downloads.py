"""Which model file a feature needs, and where each published file can be had.

Looks things up only; fetches nothing and knows nothing of what is on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from fooocus_core.catalog import ModelKind
from fooocus_core.choices import InpaintEngine
from fooocus_core.config import DownloadLists
from fooocus_core.files import DATA_FOLDER

FILES_TABLE = DATA_FOLDER / "files.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file by its kind and its name inside the folders of that kind."""

    kind: ModelKind
    name: str


UPSCALER = ModelFile(kind=ModelKind.UPSCALER, name="fooocus_upscaler_s409985e5.bin")
IMAGE_ENCODER = ModelFile(kind=ModelKind.CLIP_VISION, name="clip_vision_vit_h.safetensors")
IP_ADAPTER = ModelFile(kind=ModelKind.CONTROLNET, name="ip-adapter-plus_sdxl_vit-h.bin")
IP_ADAPTER_FACE = ModelFile(kind=ModelKind.CONTROLNET, name="ip-adapter-plus-face_sdxl_vit-h.bin")
IP_NEGATIVE = ModelFile(kind=ModelKind.CONTROLNET, name="fooocus_ip_negative.safetensors")
_INPAINT_HEAD = ModelFile(kind=ModelKind.INPAINT, name="fooocus_inpaint_head.pth")
_INPAINT_PATCHES = {
    InpaintEngine.V1: "inpaint.fooocus.patch",
    InpaintEngine.V2_5: "inpaint_v25.fooocus.patch",
    InpaintEngine.V2_6: "inpaint_v26.fooocus.patch",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file as its publisher offers it.

    Attributes:
        address: An https address that answers with the file.
        size: In bytes; ``None`` = not stated anywhere.
        size_is_exact: Whether a file of another size is certainly another file.
        licence: ``None`` = not stated where the file is offered.
        md5: Hexadecimal; ``None`` = not published.
    """

    file: ModelFile
    address: str
    size: int | None
    size_is_exact: bool
    licence: str | None
    md5: str | None


def inpaint_files(engine: InpaintEngine) -> tuple[ModelFile, ...]:
    """What an inpaint engine consists of: its head and its patch, or nothing."""
    patch = _INPAINT_PATCHES.get(engine)
    if patch is None:
        return ()
    return (_INPAINT_HEAD, ModelFile(kind=ModelKind.INPAINT, name=patch))


def published_files() -> dict[ModelFile, PublishedFile]:
    """Every file that the features of Fooocus 2.5.5 use, and the models of its presets."""
    rows = json.loads(FILES_TABLE.read_text(encoding="utf-8"))
    files = [_published(row) for row in rows]
    return {entry.file: entry for entry in files}


def find_address(file: ModelFile, lists: DownloadLists) -> str | None:
    """The address of a file; ``None`` = nobody names one.

    Args:
        lists: What configuration and presets name; they win over the published files.
    """
    address = listed_files(lists).get(file)
    if address is not None:
        return address
    published = published_files().get(file)
    return published.address if published else None


def listed_files(lists: DownloadLists) -> dict[ModelFile, str]:
    """What configuration and presets name, with the addresses."""
    by_kind = {
        ModelKind.CHECKPOINT: lists.checkpoints,
        ModelKind.LORA: lists.loras,
        ModelKind.EMBEDDING: lists.embeddings,
        ModelKind.VAE: lists.vae,
    }
    return {
        ModelFile(kind=kind, name=name): address
        for kind, addresses in by_kind.items()
        for name, address in addresses.items()
    }


def _published(row: Mapping[str, object]) -> PublishedFile:
    size, licence, md5 = row["size"], row["licence"], row.get("md5")
    return PublishedFile(
        file=ModelFile(kind=ModelKind(str(row["kind"])), name=str(row["name"])),
        address=str(row["address"]),
        size=size if isinstance(size, int) else None,
        size_is_exact=bool(row["size_is_exact"]),
        licence=licence if isinstance(licence, str) else None,
        md5=md5 if isinstance(md5, str) else None,
    )
