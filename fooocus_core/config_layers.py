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
from fooocus_core.presets import DEFAULT_PRESET, PRESETS_FOLDER, find_presets, read_preset

BUILTIN = "built-in"
ENVIRONMENT = "environment"
CONFIG_FILE = "config.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one source says, and its name."""

    source: str
    values: Mapping[str, Any]


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
        try:
            if name in self._environ:
                self.sources[name] = ENVIRONMENT
                return _read_variable(self._environ[name], key)
            for layer in reversed(self._layers):
                if name in layer.values:
                    self.sources[name] = layer.source
                    return key.value_of(layer.values[name])
        except ValueError as error:
            self._warn(name, str(error))
        self.sources[name] = BUILTIN
        return key.value_of(key.builtin)

    def _warn(self, name: str, allowed: str) -> None:
        self.warnings.append(
            f"{name} in {self.sources[name]} is not usable; it has to be {allowed}. "
            "The built-in value is used instead."
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
    layers = [_read_first(DEFAULT_PRESET, presets.get(DEFAULT_PRESET, []), warn)]
    if config_file.exists():
        layers.append(Layer(source=CONFIG_FILE, values=_read_or_warn(config_file, warn) or {}))
    if preset is not None:
        layers.append(_read_first(preset, presets[preset], warn))
    return layers


def _read_first(name: str, files: Sequence[Path], warn: Callable[[str], None]) -> Layer:
    for path in files:
        values = _read_or_warn(path, warn)
        if values is not None:
            return Layer(source=f"preset {name}", values=values)
    return Layer(source=f"preset {name}", values={})


def _read_or_warn(path: Path, warn: Callable[[str], None]) -> dict[str, Any] | None:
    try:
        return read_preset(path)
    except InvalidInputError as error:
        warn(f"Configuration left out: {error}")
        return None


def _read_variable(text: str, key: Key) -> Any:
    """A Python literal where that is allowed for the key, else the text itself."""
    try:
        return key.value_of(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return key.value_of(text)
