"""The tables of fields in ``docs/api.md``, made from the OpenAPI document.

A table stands between ``<!-- fields of MODEL -->`` and ``<!-- end -->``; a second model behind
``without`` names fields that are left out, as another table has them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]

_PLACE = re.compile(
    r"(<!-- fields of (?P<model>\w+)(?: without (?P<others>\w+))? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)
_TYPES = {"integer": "integer", "number": "number", "boolean": "true or false", "string": "text"}
_HEAD = ("| field | default | allowed | meaning |", "|---|---|---|---|")


def with_tables(text: str, schemas: Mapping[str, Schema]) -> str:
    """The text with its tables made anew."""

    def table(place: re.Match[str]) -> str:
        others = schemas[place["others"]]["properties"] if place["others"] else {}
        rows = _rows(schemas[place["model"]], others, schemas)
        return "\n".join([f"{place[1]}", *_HEAD, *rows, "", place[4]])

    return _PLACE.sub(table, text)


def _rows(model: Schema, others: Mapping[str, Any], schemas: Mapping[str, Schema]) -> Iterator[str]:
    for name, field in model["properties"].items():
        if name not in others:
            needed = name in model.get("required", ())
            default = "needed" if needed else _default(field)
            allowed = _allowed(field, schemas)
            yield f"| `{name}` | {default} | {allowed} | {field.get('description', '')} |"


def _default(field: Schema) -> str:
    value = field.get("default")
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _allowed(field: Schema, schemas: Mapping[str, Schema]) -> str:
    if "contentMediaType" in field:
        return "picture"
    (variant, *_) = [one for one in field.get("anyOf", [field]) if one != {"type": "null"}]
    if "$ref" in variant:
        name = variant["$ref"].rpartition("/")[2]
        words = schemas[name].get("enum")
        return f"`{name}`" if words is None else ", ".join(f"`{word}`" for word in words)
    if variant["type"] == "array":
        item = variant["items"].get("$ref", "").rpartition("/")[2]
        return f"list of `{item}`" if item else "list of texts"
    return _TYPES[variant["type"]] + _limits(variant)


def _limits(variant: Schema) -> str:
    low, high = variant.get("minimum"), variant.get("maximum")
    if high is None:
        return ""
    return f", at most {high:g}" if low is None else f", {low:g} to {high:g}"
