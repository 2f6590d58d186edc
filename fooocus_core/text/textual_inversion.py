"""Textual inversions: learned rows that stand in for a word of the prompt.

Knows files and encoders' widths, nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fooocus_core.loading.weight_file import read_torch_file, read_weights

Warn = Callable[[str], None]

SUFFIXES = (".safetensors", ".pt", ".bin")


class TextualInversions:
    """The embedding files of some folders, by name.

    Files are looked up and read once per object: make a new one for every job, so that files added
    meanwhile are seen.
    """

    def __init__(self, folders: Sequence[Path], warn: Warn) -> None:
        """Prepare to look in ``folders``; ``warn`` is told, once per name, what is left out."""
        self._folders = folders
        self._warn = warn
        self._contents: dict[str, Any] = {}
        self._warned: set[tuple[str, str]] = set()
        self._places: list[Path] | None = None

    def split_off(self, text: str, *, encoder: str, width: int) -> tuple[list[Tensor], str]:
        """Rows of the textual inversion a word names, for one encoder, and the rest of the word.

        Args:
            text: What follows ``embedding:``: a file name with or without suffix, in any
                sub-folder, or a path below a folder. Commas around it are not part of the name
                unless there is a file of that name.
            encoder: ``clip_l`` or ``clip_g``.
            width: Row width the encoder takes.

        Returns:
            Rows, float32 of one dimension, and the text after the name. No rows, and a warning, if
            there is no such file; a warning only, if rows have another width than the encoder's.

        Raises:
            ModelFileError: The file exists but cannot be read.
        """
        name, following = text, ""
        content = self._content(name)
        if content is None and text.strip(",") != text:
            name = text.strip(",")
            following = text.lstrip(",").removeprefix(name)
            content = self._content(name)
        if content is None:
            self._warn_once(name, "", "was not found and is left out of the prompt")
            return [], following
        rows = [
            row.float()
            for tensor in _pick(content, encoder, width)
            for row in tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1)
        ]
        if not rows or any(len(row) != width for row in rows):
            self._warn_once(name, encoder, f"does not fit {encoder} and is left out there")
        return rows, following

    def _content(self, name: str) -> Any:
        if name not in self._contents:
            path = self._find(name)
            self._contents[name] = None if path is None else _read(path)
        return self._contents[name]

    def _find(self, name: str) -> Path | None:
        relative = Path(name)
        if not name or relative.is_absolute() or ".." in relative.parts:
            return None
        if self._places is None:
            self._places = [place for folder in self._folders for place in _with_subfolders(folder)]
        for place in self._places:
            for suffix in ("", *SUFFIXES):
                path = place / f"{name}{suffix}"
                if path.suffix in SUFFIXES and _is_file(path):
                    return path
        return None

    def _warn_once(self, name: str, encoder: str, what: str) -> None:
        if (name, encoder) not in self._warned:
            self._warned.add((name, encoder))
            self._warn(f"The embedding {name} {what}.")


def _with_subfolders(folder: Path) -> Iterator[Path]:
    yield folder
    yield from sorted(path for path in folder.rglob("*") if path.is_dir())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # for instance a name longer than the file system allows
        return False


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return read_weights(path).tensors
    return read_torch_file(path)


def _pick(content: Any, encoder: str, width: int) -> list[Tensor]:
    """The tensors meant for an encoder, by the layout of the file."""
    if isinstance(content, Mapping):
        if isinstance(content.get("string_to_param"), Mapping):
            return _tensors(content["string_to_param"].values())[:1]
        if encoder in content:
            return _tensors([content[encoder]])
        return _tensors(content.values())[:1]
    if isinstance(content, list):
        tables = [item.values() if isinstance(item, Mapping) else [item] for item in content]
        tensors = [tensor for values in tables for tensor in _tensors(values)]
        return [tensor for tensor in tensors if tensor.shape[-1:] == (width,)]
    return _tensors([content])


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]
