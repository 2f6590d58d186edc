"""Which model files exist, and where.

Knows nothing of what is inside them. Every call looks at the disk again.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from pathlib import Path

from fooocus_core.config import Defaults, Folders
from fooocus_core.errors import ModelNotFoundError
from fooocus_core.files import list_files

MODEL_SUFFIXES = (".pth", ".ckpt", ".bin", ".safetensors", ".fooocus.patch")


class ModelKind(StrEnum):
    """Kinds of model files; the value is the field of :class:`Folders` that holds them."""

    CHECKPOINT = "checkpoints"
    LORA = "loras"
    EMBEDDING = "embeddings"
    VAE = "vae"
    VAE_APPROX = "vae_approx"
    UPSCALER = "upscale_models"
    INPAINT = "inpaint"
    CONTROLNET = "controlnet"
    CLIP_VISION = "clip_vision"
    EXPANSION = "expansion"
    SAFETY_CHECKER = "safety_checker"
    SAM = "sam"


# What the prompt expansion is read from, all in one folder.
EXPANSION_WEIGHTS = "pytorch_model.bin"
EXPANSION_VOCABULARY = "vocab.json"
EXPANSION_MERGES = "merges.txt"
EXPANSION_CONFIG = "config.json"
EXPANSION_WORDS = "positive.txt"
EXPANSION_FILES = (
    EXPANSION_WEIGHTS,
    EXPANSION_VOCABULARY,
    EXPANSION_MERGES,
    EXPANSION_CONFIG,
    EXPANSION_WORDS,
)

# Folders a caller chooses from by name; in the others, files of any kind lie side by side.
_CHOSEN_FROM = (ModelKind.CHECKPOINT, ModelKind.LORA, ModelKind.VAE)

_log = logging.getLogger(__name__)


class Catalog:
    """The model files in the configured folders, by kind and name.

    A name is a path relative to one of the folders of its kind, with ``/`` between the parts. It
    is only ever compared with names found on disk, so no name leads out of the folders.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._reported: set[str] = set()

    def folders(self, kind: ModelKind) -> tuple[Path, ...]:
        """The folders searched for a kind, in order."""
        found: tuple[Path, ...] = getattr(self._folders, kind.value)
        return found

    def names(self, kind: ModelKind) -> list[str]:
        """All names of a kind: folder after folder, sub-folders before their parent.

        Names are sorted case-insensitively inside each folder. Of two files with one name, the
        one in the earlier folder counts.
        """
        return list(self._places(kind))

    def match(self, kind: ModelKind, name: str) -> str | None:
        r"""The name on disk that is meant by ``name``, which may have ``\`` between its parts."""
        spelt = name.replace("\\", "/")
        return spelt if spelt in self._places(kind) else None

    def find(self, kind: ModelKind, name: str) -> Path:
        """The file of exactly that name.

        Raises:
            ModelNotFoundError: No folder of the kind has it; names the folders.
        """
        folder = self._places(kind).get(name)
        if folder is None:
            searched = ", ".join(map(str, self.folders(kind)))
            raise ModelNotFoundError(f"There is no file {name!r} in {searched}.")
        return folder / name

    def missing_expansion_files(self) -> list[str]:
        """What keeps the prompt expansion from running; nothing if one folder holds all of it."""
        missing = [
            [name for name in EXPANSION_FILES if not (folder / name).is_file()]
            for folder in self._folders.expansion
        ]
        return min(missing, key=len)

    def _places(self, kind: ModelKind) -> dict[str, Path]:
        """The folder of each name. Making the path of every file would double the time."""
        suffixes = MODEL_SUFFIXES if kind in _CHOSEN_FROM else ("",)
        places: dict[str, Path] = {}
        for folder in self.folders(kind):
            for name in list_files(folder, suffixes, on_unusable=self._report_once):
                places.setdefault(name, folder)
        return places

    def _report_once(self, path: str) -> None:
        if path not in self._reported:
            self._reported.add(path)
            _log.warning("Left out, because its name is not UTF-8: %s", path)


def choose_base(catalog: Catalog, defaults: Defaults) -> str | None:
    """The base model of requests that name none, as the catalog spells it.

    It is the default model, or else the first of ``previous_models`` that exists; ``None`` = there
    is none of them.
    """
    names = (defaults.model, *defaults.previous_models)
    known = (catalog.match(ModelKind.CHECKPOINT, name) for name in names)
    return next((name for name in known if name is not None), None)
