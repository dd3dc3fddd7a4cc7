"""The OpenAPI document, made of the routes, the facts they carry and pydantic's JSON Schema."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from werkzeug.routing import Rule

from app.routes.document import Accepted, Answer, Facts, Problem, facts_of

Json = dict[str, Any]
Schemas = Mapping[Any, Json]  # by model and mode

VERSION = "0.1.0"
DESCRIPTION = (
    "Jobs that are done in the background: a request that is taken is answered with 202 and a "
    "task id, and `status_url` tells how the task is doing. Errors are problem documents "
    "(RFC 9457) that name each wrong field."
)
TOPICS = {
    "Mail": "Mails to one or many.",
    "Files": "Importing, processing and converting files.",
    "Reports": "PDF reports over the service's own rows.",
    "Payments": "Payments, charged once an order.",
    "Calls": "Calls of other services, and webhooks.",
    "ETL": "Fetching, validating, transforming and saving the rows of sources.",
    "Examples": "Small jobs that show good practice.",
    "Tasks": "How a task is doing, and stopping it.",
    "Sessions": "Sessions of people, which expire.",
    "Monitoring": "Whether the service, its workers and queues do their work.",
}
REASONS = {
    400: "The request can't be read, or a field is wrong; `errors` names each.",
    401: "The token is missing, unknown or expired.",
    404: "Nothing has this id.",
    413: "The body is too large.",
    415: "The body has another type than the ones above.",
    503: "Redis or the database does not answer; ask again after `Retry-After`.",
}
FOLLOW = {
    "task": {"operationId": "tasks_status", "parameters": {"task_id": "$response.body#/task_id"}}
}
_PARAMETER = re.compile(r"<(?:(?P<kind>\w+)(?:\(.*?\))?:)?(?P<name>\w+)>")


class Operation(NamedTuple):
    """A route with one of its methods."""

    rule: Rule
    method: str
    view: Any
    facts: Facts

    @property
    def path(self) -> str:
        return _PARAMETER.sub(r"{\g<name>}", self.rule.rule)


def operations(app: Flask) -> Iterator[Operation]:
    """Each described route, by path."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        if facts := facts_of(view):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield Operation(rule, method.lower(), view, facts)


def document(app: Flask) -> Json:
    """The OpenAPI 3.1 document of the described routes."""
    found = list(operations(app))
    schemas, definitions = _schemas(found)
    paths: dict[str, Json] = {}
    for each in found:
        paths.setdefault(each.path, {})[each.method] = _operation(each, schemas, definitions)
    topics = {each.facts.topic for each in found}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Followthrough", "version": VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": k, "description": v} for k, v in TOPICS.items() if k in topics],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(found: list[Operation]) -> tuple[Schemas, dict[str, Json]]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
    for each in found:
        facts = each.facts
        taken = (facts.request, facts.form, facts.query)
        wanted |= {(model, "validation"): None for model in taken if model}
        given = (model for model in facts.answers.values() if isinstance(model, type))
        wanted |= {(model, "serialization"): None for model in given}
    schemas, defined = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    return schemas, defined["$defs"]


def _operation(each: Operation, schemas: Schemas, definitions: dict[str, Json]) -> Json:
    summary, _, description = inspect.cleandoc(each.view.__doc__ or "").partition("\n")
    query = _query(each.facts, schemas, definitions)
    body = _body(each.facts, schemas)
    return {
        "operationId": each.rule.endpoint.replace(".", "_"),
        "tags": [each.facts.topic],
        "summary": summary.rstrip("."),
        **({"description": description.strip()} if description else {}),
        "parameters": [*_path_parameters(each), *query],
        **({"requestBody": body} if body else {}),
        **({"security": [{"bearer": []}]} if each.facts.bearer else {}),
        "responses": {
            **{str(k): _answer(k, v, schemas) for k, v in each.facts.answers.items()},
            **{str(k): _problem(k, v, schemas) for k, v in sorted(_problems(each).items())},
        },
    }


def _path_parameters(each: Operation) -> Iterator[Json]:
    for found in _PARAMETER.finditer(each.rule.rule):
        said = each.facts.path.get(found["name"], {})
        number = found["kind"] == "int"
        kind = {"type": "integer", "minimum": 0} if number else {"type": "string", "minLength": 1}
        yield _parameter(found["name"], "path", {**kind, **said}, required=True)


def _query(facts: Facts, schemas: Schemas, definitions: dict[str, Json]) -> Iterator[Json]:
    if facts.query:
        model = _defined(schemas[facts.query, "validation"], definitions)
        for name, schema in model.get("properties", {}).items():
            needed = name in model.get("required", [])
            yield _parameter(name, "query", _without_null(schema), required=needed)


def _parameter(name: str, place: str, schema: Json, *, required: bool) -> Json:
    lifted = {"description": schema["description"]} if "description" in schema else {}
    example = {"example": schema["examples"][0]} if "examples" in schema else {}
    kept = {k: v for k, v in schema.items() if k not in {"title", "description", "examples"}}
    return {"name": name, "in": place, "required": required, "schema": kept, **lifted, **example}


def _without_null(schema: Json) -> Json:
    # A parameter is left out, and can't be sent as null.
    kept = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(kept) != 1:
        return schema
    rest = {k: v for k, v in schema.items() if k != "anyOf" and (k, v) != ("default", None)}
    return {**rest, **kept[0]}


def _body(facts: Facts, schemas: Schemas) -> Json | None:
    kinds = {"application/json": facts.request, "multipart/form-data": facts.form}
    content = {k: {"schema": schemas[v, "validation"]} for k, v in kinds.items() if v}
    if content and facts.example is not None:
        content[next(iter(content))]["example"] = facts.example
    return {"required": True, "content": content} if content else None


def _answer(status: int, answer: Answer, schemas: Schemas) -> Json:
    said: Json = {"description": HTTPStatus(status).phrase}
    if not isinstance(answer, type):
        return {**said, "content": {answer: {}}} if answer else said
    said["content"] = {"application/json": {"schema": schemas[answer, "serialization"]}}
    if answer is Accepted:
        said["headers"] = _header("Location", "As `status_url`.", {"type": "string"})
        said["links"] = FOLLOW
    return said


def _problems(each: Operation) -> dict[int, str]:
    facts = each.facts
    usual = [400, 413, 415] if facts.request or facts.form else []
    usual += [400] if facts.query else []
    usual += [404] if each.rule.arguments else []
    usual += [401] if facts.bearer else []
    usual += [] if facts.alone else [503]
    return {**{status: REASONS[status] for status in usual}, **facts.problems}


def _problem(status: int, reason: str, schemas: Schemas) -> Json:
    schema = schemas[Problem, "serialization"]
    said: Json = {
        "description": reason,
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        said["headers"] = _header("Retry-After", "Seconds to wait.", {"type": "integer"})
    return said


def _header(name: str, description: str, schema: Json) -> Json:
    return {name: {"description": description, "schema": schema}}


def _defined(schema: Json, definitions: dict[str, Json]) -> Json:
    return definitions[str(schema["$ref"]).rpartition("/")[2]]
