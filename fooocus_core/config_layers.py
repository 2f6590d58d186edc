"""The sources of configuration, laid over each other.

Reads files, changes none. Knows nothing of what the values are used for.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fooocus_core.config_values import Key
from fooocus_core.errors import InvalidInputError
from fooocus_core.files import JsonFile
from fooocus_core.presets import DEFAULT_PRESET, PRESETS_FOLDER, find_presets, read_preset

BUILTIN = "built-in"
ENVIRONMENT = "environment"
CONFIG_FILE = "config.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one file says, and the name of the source that it is."""

    source: str
    file: JsonFile

    @property
    def values(self) -> Mapping[str, Any]:
        """The values by their keys."""
        values: Mapping[str, Any] = self.file.value
        return values


class LayeredValues:
    """Looks keys up in the layers, and keeps where each value came from.

    Attributes:
        sources: Key -> name of the source, for every key read so far.
        warnings: Values that were not usable, one sentence each.
    """

    def __init__(self, layers: Sequence[Layer], environ: Mapping[str, str]) -> None:
        self._layers = layers
        self._environ = environ
        self.sources: dict[str, str] = {}
        self.warnings: list[str] = []

    def read(self, name: str, key: Key) -> Any:
        """The value of a key: from the environment, else the last layer that has it, else built-in.

        A value that is not allowed gives the built-in one and a warning.
        """
        if name in self._environ:
            try:
                self.sources[name] = ENVIRONMENT
                return _read_variable(self._environ[name], key)
            except ValueError as error:
                self._warn(name, ENVIRONMENT, error)
        elif layer := next((one for one in reversed(self._layers) if name in one.values), None):
            try:
                self.sources[name] = layer.source
                return key.value_of(layer.values[name])
            except ValueError as error:
                self._warn(name, layer.file.place_of(name), error)
        self.sources[name] = BUILTIN
        return key.value_of(key.builtin)

    def _warn(self, name: str, place: str, allowed: ValueError) -> None:
        self.warnings.append(
            f"{name} in {place}: it has to be {allowed}. The built-in value is used instead."
        )


def read_layers(
    *, root: Path, preset: str | None, config_file: Path, warn: Callable[[str], None]
) -> list[Layer]:
    """Read the ``default`` preset, the configuration file and the chosen preset, in this order.

    Args:
        root: Project root, whose ``presets`` folder comes before the presets of this package.
        preset: Name of the chosen preset, if any.
        config_file: May be missing.
        warn: Told of files that could not be used; they are left out.

    Raises:
        InvalidInputError: There is no preset of the chosen name; names those there are.
    """
    presets = find_presets([root / "presets", PRESETS_FOLDER])
    if preset is not None and preset not in presets:
        raise InvalidInputError(
            f"There is no preset named {preset!r}. Available: {', '.join(presets)}."
        )
    default = _read_first(DEFAULT_PRESET, presets.get(DEFAULT_PRESET, []), warn)
    layers = [default]
    if config_file.exists():
        layers.append(_read_layer(CONFIG_FILE, config_file, warn))
    if preset == DEFAULT_PRESET:
        layers.append(default)
    elif preset is not None:
        layers.append(_read_first(preset, presets[preset], warn))
    return [layer for layer in layers if layer is not None]


def _read_first(name: str, files: Sequence[Path], warn: Callable[[str], None]) -> Layer | None:
    layers = (_read_layer(f"preset {name}", path, warn) for path in files)
    return next((layer for layer in layers if layer is not None), None)


def _read_layer(source: str, path: Path, warn: Callable[[str], None]) -> Layer | None:
    try:
        return Layer(source=source, file=read_preset(path))
    except InvalidInputError as error:
        warn(f"Configuration left out: {error}")
        return None


def _read_variable(text: str, key: Key) -> Any:
    """A Python literal where that is allowed for the key, else the text itself."""
    try:
        return key.value_of(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key.value_of(text)
