"""The API as an OpenAPI 3.1 document, made of the table of its routes and of the models."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

import tcplb
from tcplb.config.fields import Name
from tcplb.control.admin.models import Problem
from tcplb.control.admin.routes import ROUTES
from tcplb.control.admin.table import API, Route

_REF = "#/components/schemas/{model}"
_PROBLEM_TYPE = "application/problem+json"
_NAME_IN_PATH = re.compile(r"\{(\w+)\}")
_PATH_WORDS = {
    "pool": "A pool's name.",
    "backend": "A backend's name, which is its address if it was given none.",
    "session": "A session's `id`.",
}
_NAME = TypeAdapter(Name).json_schema()
_PATH_SCHEMAS = {
    "pool": _NAME,
    "backend": _NAME,
    "session": {"type": "string", "pattern": "^[0-9]+-[0-9]+$", "examples": ["1-4711"]},
}
_ABOUT = """\
Reading needs no token on a loopback address or a Unix socket. What changes anything needs it, as \
`Authorization: Bearer TOKEN`; docs/api.md says where it is. A change is sent as \
`Content-Type: application/json`, also without a body. Streams are Server-Sent Events, whose \
data is JSON."""


def openapi_json() -> bytes:
    """The document as it is sent."""
    return json.dumps(openapi()).encode()


def openapi() -> dict[str, Any]:
    """The document: OpenAPI 3.1.0, spec.openapis.org/oas/v3.1.0."""
    references, schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(API + route.path, {})[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tcplb admin API", "version": tcplb.__version__, "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_References = dict[tuple[Any, JsonSchemaMode], dict[str, Any]]
"""How each model is referred to; `Any` stands for what pydantic takes as one."""


def _schemas() -> tuple[_References, dict[str, Any]]:
    models: dict[tuple[Any, JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for route in ROUTES:
        models[route.answer, "serialization"] = None
        if route.body is not None:
            models[route.body, "validation"] = None
    references, definitions = models_json_schema(list(models), ref_template=_REF)
    schemas: dict[str, Any] = definitions["$defs"]
    return references, schemas


def _operation(route: Route, references: _References) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, references),
        "security": [{"token": []}] if route.changes else [{}, {"token": []}],
    }
    if route.body is not None:
        schema = references[route.body, "validation"]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_WORDS[name],
            "schema": _PATH_SCHEMAS[name],
        }
        for name in _NAME_IN_PATH.findall(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    properties = route.query.model_json_schema().get("properties", {})
    parameters = [_query_parameter(name, schema) for name, schema in properties.items()]
    return parameters + ([_LAST_EVENT] if "after" in properties and route.is_stream else [])


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    # A parameter that is None is one that is not there.
    choices = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    plain = dict(choices[0]) if choices else {k: v for k, v in schema.items() if k != "title"}
    description = plain.pop("description", schema.get("description"))
    return {
        "name": name,
        "in": "query",
        "schema": plain,
        **({"description": description} if description else {}),
    }


_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The `id` of the last event that was read, when a client comes back.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,15}$"},
}


def _responses(route: Route, references: _References) -> dict[str, Any]:
    answer = references[route.answer, "serialization"]
    schema = _data_of_stream(answer) if route.is_stream else answer
    content_type = "text/event-stream" if route.is_stream else "application/json"
    problem = references[Problem, "serialization"]
    wrong = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {_PROBLEM_TYPE: {"schema": problem}},
        }
        for status in route.all_errors
    }
    right = {"description": route.summary, "content": {content_type: {"schema": schema}}}
    return {str(route.status): right, **wrong}


def _data_of_stream(schema: dict[str, Any]) -> dict[str, Any]:
    """Each message's data; OpenAPI 3.1 has no words for streams."""
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
