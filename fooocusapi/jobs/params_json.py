"""Generation parameters as JSON text and back, so that a job can wait on disk.

Pictures are not part of the text; their places hold numbers, under which somebody else keeps them.
Later versions can read what earlier ones wrote as long as new fields have defaults. Knows neither
files nor the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from fooocus_core.params import GenerationParams, Image
from fooocusapi.exceptions import StoredParamsError

FORMAT = 1
"""Number of the present form; raised when texts written before could no longer be read."""

_PICTURE = "picture"
FindPicture = Callable[[int], Image]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedParams:
    """Parameters without pictures, and the pictures in the order of their numbers."""

    text: str
    pictures: tuple[Image, ...]


def encode_params(params: GenerationParams) -> EncodedParams:
    """Take parameters apart into text and pictures; the text is ASCII."""
    pictures: list[Image] = []
    content = {"format": FORMAT, "params": _encode(params, pictures)}
    return EncodedParams(text=json.dumps(content), pictures=tuple(pictures))


def decode_params(text: str, find_picture: FindPicture) -> GenerationParams:
    """Put parameters together again, equal to what was encoded.

    Raises:
        StoredParamsError: The text was written by a version that this one does not understand.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        params: GenerationParams = _decode(GenerationParams, content["params"], find_picture)
    except (ValueError, KeyError, TypeError) as error:
        raise StoredParamsError(
            f"the job was stored by a version that this one does not understand: {error}"
        ) from error
    return params


def _encode(value: Any, pictures: list[Image]) -> Any:
    if is_dataclass(value):
        return {
            field.name: _encode(getattr(value, field.name), pictures) for field in fields(value)
        }
    if isinstance(value, np.ndarray):
        pictures.append(value)
        return {_PICTURE: len(pictures) - 1}
    if isinstance(value, tuple):
        return [_encode(item, pictures) for item in value]
    return value.value if isinstance(value, Enum) else value


def _decode(kind: Any, value: Any, find_picture: FindPicture) -> Any:
    origin = get_origin(kind)
    if origin is UnionType:
        if value is None:
            return None
        (inner,) = (part for part in get_args(kind) if part is not NoneType)
        return _decode(inner, value, find_picture)
    if origin is np.ndarray:
        return find_picture(int(value[_PICTURE]))
    if origin is tuple:
        item = get_args(kind)[0]
        return tuple(_decode(item, entry, find_picture) for entry in value)
    if is_dataclass(kind):
        return _decode_fields(kind, value, find_picture)
    if issubclass(kind, tuple):
        return kind(*value)
    return _plain(kind, value)


def _plain(kind: Any, value: Any) -> Any:
    if issubclass(kind, Enum):
        return kind(value)
    # JSON has one kind of number; a whole float comes back as what was asked for.
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _decode_fields(kind: Any, values: Mapping[str, Any], find_picture: FindPicture) -> Any:
    known = {field.name: field for field in fields(kind)}
    if unknown := set(values) - set(known):
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    if missing := [name for name, field in known.items() if name not in values and _needed(field)]:
        raise ValueError(f"{kind.__name__} needs {', '.join(missing)}")
    kinds = get_type_hints(kind)
    return kind(
        **{name: _decode(kinds[name], value, find_picture) for name, value in values.items()}
    )


def _needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
