"""How the schema describes request bodies, in both of their encodings.

Generated from the request models; reads no request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fooocusapi.schemas.field_texts import FIELD_TEXTS
from fooocusapi.schemas.forms import ALL_SLOTS, NAME_LISTS

Schema = dict[str, Any]

JSON = "application/json"
MULTIPART = "multipart/form-data"
PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{model}"
_NULL = {"type": "null"}
# Words of the validator that reach the schema where a limit stands around a choice of types.
_KEYWORDS = {"ge": "minimum", "le": "maximum"}


def reference(model: type[BaseModel]) -> Schema:
    """The schema that stands for a model of the components section."""
    return {"$ref": _REF.format(model=model.__name__)}


def describe_body(model: type[BaseModel], form: type[BaseModel] | None = None) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint that reads a body as ``model``, a form as ``form``."""
    as_form = {"$ref": f"{reference(form or model)['$ref']}Form"}
    content = {JSON: {"schema": reference(model)}, MULTIPART: {"schema": as_form}}
    return {"requestBody": {"required": True, "content": content}}


def describe_models(models: Sequence[type[BaseModel]]) -> dict[str, Schema]:
    """Schemas of models, for the components section."""
    _, table = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas: dict[str, Schema] = table["$defs"]
    return {name: _tidied(schema) for name, schema in schemas.items()}


def describe_requests(models: Sequence[type[BaseModel]]) -> dict[str, Schema]:
    """Schemas of request models and of their form encodings, for the components section."""
    schemas = describe_models(models)
    forms = {
        f"{model.__name__}Form": _form_schema(schemas[model.__name__], schemas) for model in models
    }
    return {**schemas, **forms}


def without_null(schema: Schema) -> Schema:
    """The same for a place that has no null: one that is left out is left out."""
    variants = [variant for variant in schema.get("anyOf", ()) if variant != _NULL]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    if rest.get("default", _NULL) is None:
        del rest["default"]
    if len(variants) == 1:
        return {**variants[0], **rest}
    return {**rest, "anyOf": variants} if variants else rest


def _tidied(schema: Schema) -> Schema:
    """With the keywords of JSON Schema only, words for fields, and null for optional pictures."""
    renamed: Schema = _rename_keywords(schema)
    needed = renamed.get("required", ())
    for name, field in renamed.get("properties", {}).items():
        if name in FIELD_TEXTS:
            field.setdefault("description", FIELD_TEXTS[name])
        if "contentMediaType" in field and name not in needed:
            field["type"] = ["string", "null"]
    return renamed


def _rename_keywords(value: Any) -> Any:
    if isinstance(value, dict):
        return {_KEYWORDS.get(name, name): _rename_keywords(item) for name, item in value.items()}
    return [_rename_keywords(item) for item in value] if isinstance(value, list) else value


def _form_schema(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    """The same object as form fields.

    Lists and objects become texts, and lists of objects numbered fields.
    """
    properties = dict(schema["properties"])
    for slots in ALL_SLOTS:
        listed = properties.pop(slots.list_name, None)
        if listed is not None:
            fields = schemas[listed["items"]["$ref"].rpartition("/")[2]]["properties"]
            properties |= {
                slots.form_name(name, number): field
                for number in range(1, slots.count + 1)
                for name, field in fields.items()
            }
    described = {
        **schema,
        "title": f"{schema['title']}Form",
        "properties": {name: _form_field(name, field) for name, field in properties.items()},
        "required": [name for name in schema.get("required", ()) if name in properties],
    }
    if "examples" in schema:
        described["examples"] = [_form_example(example) for example in schema["examples"]]
    return described


def _form_field(name: str, field: Schema) -> Schema:
    field = without_null(field)
    if "contentMediaType" in field:
        return {**field, "type": "string", "format": "binary"}
    about = field.get("description", "")
    if name in NAME_LISTS:
        return _text_field(f"{about} Separated by commas; or repeated; or a JSON list.", field)
    if field.get("type") == "array" or "AdvancedParams" in field.get("$ref", ""):
        held = {key: value for key, value in field.items() if key in ("$ref", "type", "items")}
        text = _text_field(f"{about} As JSON text.", field)
        return {**text, "contentMediaType": JSON, "contentSchema": held}
    return field


def _text_field(description: str, field: Schema) -> Schema:
    title = {"title": field["title"]} if "title" in field else {}
    return {"type": "string", **title, "description": description.strip()}


def _form_example(example: Mapping[str, Any]) -> dict[str, Any]:
    """What a form sends for a JSON body."""
    fields = dict(example)
    for slots in ALL_SLOTS:
        for number, item in enumerate(fields.pop(slots.list_name, ()), 1):
            fields |= {slots.form_name(name, number): value for name, value in item.items()}
    return {name: _form_value(name, value) for name, value in fields.items()}


def _form_value(name: str, value: Any) -> Any:
    if name in NAME_LISTS:
        return ",".join(value)
    return json.dumps(value) if isinstance(value, (dict, list)) else value
