"""Calling other services: an API once, or a webhook until it is taken."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Blueprint, Response, current_app
from pydantic import AfterValidator, StringConstraints, WithJsonSchema

from app import registry
from app.routes import answers, body
from app.routes.document import Accepted, described
from app.services import addresses
from app.services.external import unfit
from app.tasks.external import call_external_api
from app.tasks.webhooks import send_webhook

blueprint = Blueprint("outgoing", __name__)


def _address(text: str) -> str:
    host = addresses.parsed(text).hostname or ""
    allowed = current_app.extensions["settings"].outgoing_allowed
    # What a name means is looked up when it is called, and not in a request.
    if addresses.literal(host) and not addresses.may_call(host, host, allowed):
        raise ValueError("Private addresses are not allowed.")
    return text


def _plain(value: Any) -> Any:
    if wrong := unfit(value):
        raise ValueError(wrong)
    return value


Address = Annotated[
    str,
    AfterValidator(_address),
    WithJsonSchema(
        {
            "description": "Of a public host, or one that OUTGOING_ALLOWED names.",
            "type": "string",
            "format": "uri",
            "pattern": "^https?://",
            "maxLength": addresses.LONGEST_URL,
        }
    ),
]
Document = Annotated[dict[str, Any], AfterValidator(_plain)]


# JSON Schema's patterns have another sign for the end than pydantic's.
Event = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_.-]+\z", max_length=255),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "maxLength": 255}),
]


class ApiCall(body.Body):
    endpoint: Address
    payload: Document


class Webhook(body.Body):
    url: Address
    event_data: Document
    event: Event | None = None


@blueprint.post("/call-external-api")
@described(
    "Calls",
    request=ApiCall,
    answers={202: Accepted},
    example={
        "endpoint": "http://127.0.0.1:5000/api/send-email",
        "payload": {
            "recipient": "ada@example.com",
            "subject": "Hello",
            "body": "By way of a call.",
        },
    },
)
def queue_api_call() -> Response:
    """Queue one call of another service's API."""
    call = body.read(ApiCall)
    result = registry.publish(call_external_api.s(**call.model_dump()))
    return answers.accepted("API call queued", result.id)


@blueprint.post("/send-webhook")
@described(
    "Calls",
    request=Webhook,
    answers={202: Accepted},
    example={
        "url": "http://127.0.0.1:8099/hook",
        "event": "order.paid",
        "event_data": {"order": 1},
    },
)
def queue_webhook() -> Response:
    """Queue one webhook."""
    webhook = body.read(Webhook)
    result = registry.publish(send_webhook.s(**webhook.model_dump()))
    return answers.accepted("Webhook queued for delivery", result.id)
