"""Tables of fields, made from schemas."""

from __future__ import annotations

from typing import Any

from tools.api_tables import with_tables

SCHEMAS: dict[str, Any] = {
    "Word": {"enum": ["a", "b"]},
    "Part": {"type": "object", "properties": {}},
    "Others": {"properties": {"known": {"type": "string"}}},
    "Sample": {
        "required": ["needed"],
        "properties": {
            "known": {"type": "string"},
            "needed": {"type": "string", "contentMediaType": "image/*"},
            "number": {
                "anyOf": [{"type": "number", "minimum": 0, "maximum": 0.5}, {"type": "null"}],
                "default": 0.25,
                "description": "How much.",
            },
            "pixels": {"type": "integer", "maximum": 64},
            "word": {"$ref": "#/components/schemas/Word", "default": "a"},
            "words": {"type": "array", "items": {"type": "string"}, "default": []},
            "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
            "part": {"$ref": "#/components/schemas/Part"},
        },
    },
}
TEXT = """before
<!-- fields of Sample without Others -->
whatever was here
<!-- end -->
after"""


def test_a_table_has_a_row_per_field_but_for_those_of_another_table() -> None:
    assert with_tables(TEXT, SCHEMAS).splitlines() == [
        "before",
        "<!-- fields of Sample without Others -->",
        "",
        "| field | default | allowed | meaning |",
        "|---|---|---|---|",
        "| `needed` | needed | picture |  |",
        "| `number` | `0.25` | number, 0 to 0.5 | How much. |",
        "| `pixels` |  | integer, at most 64 |  |",
        '| `word` | `"a"` | `a`, `b` |  |',
        "| `words` | `[]` | list of texts |  |",
        "| `parts` |  | list of `Part` |  |",
        "| `part` |  | `Part` |  |",
        "",
        "<!-- end -->",
        "after",
    ]


def test_made_again_it_is_the_same() -> None:
    made = with_tables(TEXT, SCHEMAS)
    assert with_tables(made, SCHEMAS) == made
