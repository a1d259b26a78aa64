"""The JSON Schema of the file, for editors: what may be written, in its short forms too.

It is made of the tree of settings. What depends on another setting only `weir check` knows. Nothing is
required that a WEIR_ variable can set.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from proxy.config.sections.section import Section
from proxy.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors know best
FILE_NAME = "weir.schema.json"  # beside the file that names it

_NULL = {"type": "null"}


def schema_text() -> str:
    """What `weir schema` prints, and config/weir.schema.json holds."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Any]:
    made = Settings.model_json_schema(schema_generator=_Generator)
    definitions = made.pop("$defs")
    alone = {section.__name__: section.alone for section in _sections(Section) if section.alone is not None}
    for section in (made, *definitions.values()):
        for setting in section["properties"].values():
            if name := _name_of(setting):  # a block, each of whose settings has a variable
                definitions[name].pop("required", None)
    tidied = {name: _tidied(definition, alone, definitions) for name, definition in definitions.items()}
    top = _tidied(made, alone, definitions) | {"title": "Settings of Weir"}
    return {"$schema": DIALECT, **top, "definitions": tidied}


class _Generator(GenerateJsonSchema):
    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """A list of which one entry may stand alone; all that is read otherwise has a schema by hand."""
        made = super().function_before_schema(schema)
        return {"anyOf": [made, made["items"]]}


def _sections(above: type[Section]) -> Iterator[type[Section]]:
    for section in above.__subclasses__():
        yield section
        yield from _sections(section)


def _name_of(schema: dict[str, Any]) -> str | None:
    return str(schema["$ref"]).rpartition("/")[2] if "$ref" in schema else None


def _tidied(schema: Any, alone: dict[str, str], definitions: dict[str, Any]) -> Any:
    """Puts it in the words of an editor: without pydantic's titles, with the short forms of blocks."""
    if isinstance(schema, list):
        return [_tidied(part, alone, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    name = _name_of(schema)
    if name is not None:
        block = {"$ref": f"#/definitions/{name}"}
        short = definitions[name]["properties"][alone[name]] if name in alone else _NULL  # all commented out
        others = {key: value for key, value in schema.items() if key != "$ref"}
        return {"anyOf": [block, _bare(short)], **others}
    tidied = {key: _tidied(part, alone, definitions) for key, part in schema.items() if key != "title"}
    least = tidied.get("minLength")
    lists = [part for part in (tidied, *tidied.get("anyOf", ())) if part.get("type") == "array"]
    if least is not None and lists:
        del tidied["minLength"]
        for each in lists:
            each["minItems"] = least
    return tidied


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("title", "description", "default")}
