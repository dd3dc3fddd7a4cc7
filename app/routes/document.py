"""What the OpenAPI document says of a route: facts that the view carries, and nothing that reads.

    @blueprint.post("/send-email")
    @described("Mail", request=Mail, answers={202: Accepted}, example={"recipient": "ada@..."})
    def queue_email() -> Response:
        '''Queue one mail.'''

It stands below the route's line. The first line of the docstring is the summary, the rest the
description. A `request`, which `body.read` reads, or a `form` brings the problems 400, 413 and 415
with it, each route but one that is `alone` 503; `problems` adds others, or says more of these:
`problems={404: "No dataset has this id."}`.

- `answers`: a status with its model, with the media type of a file (`{200: "application/pdf"}`), or
  with None if there is no body.
- `form`: the model of a multipart form, instead of `request` or beside it; a file is an `Upload`.
- `query`: the model of the parameters behind the question mark.
- `path`: JSON Schema keywords by parameter, which join what the rule says:
  `path={"data_id": {"maximum": 2147483647, "description": "...", "examples": [1]}}`.
- `bearer`: the route asks for a token, `Authorization: Bearer TOKEN`.
- `example`: a body (of a form: its fields but the file) that works when sent to a new service.

A check that pydantic can't write as JSON Schema is told by `WithJsonSchema` at its field, so that
what the schema allows is as near as can be to what the route takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

Topic = Literal[
    "Mail",
    "Files",
    "Reports",
    "Payments",
    "Calls",
    "ETL",
    "Examples",
    "Tasks",
    "Sessions",
    "Monitoring",
]
Answer = type[BaseModel] | str | None
View = TypeVar("View", bound=Callable[..., Any])


def without_default(schema: dict[str, Any]) -> None:
    """For a field's `json_schema_extra`, whose default means "none" and is no value to send."""
    schema.pop("default", None)


Upload = Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})]


class Accepted(BaseModel):
    """The job was taken; `status_url` tells how it is doing."""

    model_config = ConfigDict(extra="forbid")

    message: str
    task_id: str
    trace_id: str | None
    status_url: str


class WrongField(BaseModel):
    """A field of the request, and what is wrong with it."""

    field: str
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457); `error` says the same as `detail`."""

    # RFC 9457 lets a problem have members of its own.
    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: str
    errors: list[WrongField] | SkipJsonSchema[None] = Field(
        default=None, json_schema_extra=without_default
    )


@dataclass(frozen=True)
class Facts:
    """What a view is described by; as its decorator it leaves the view the function that it is."""

    topic: Topic
    _: KW_ONLY
    answers: Mapping[int, Answer]
    request: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    path: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: Mapping[int, str] = field(default_factory=dict)
    example: Any = None
    alone: bool = False
    bearer: bool = False

    def __call__(self, view: View) -> View:
        vars(view)["described"] = self
        return view


described = Facts


def facts_of(view: Callable[..., Any]) -> Facts | None:
    """What the view is described by, if it is."""
    facts: Facts | None = vars(view).get("described")
    return facts
