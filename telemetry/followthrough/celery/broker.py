"""What the broker is, by the names of the semantic conventions."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery

_SYSTEMS = {
    "amqp": "rabbitmq",
    "sqs": "aws_sqs",
    "gcpubsub": "gcp_pubsub",
    "azureservicebus": "servicebus",
    "confluentkafka": "kafka",
}
_known: WeakKeyDictionary[Celery, str] = WeakKeyDictionary()


def system(app: Any) -> str:
    """The messaging system of an app's broker; empty where there is no app."""
    if app is None:
        return ""
    found = _known.get(app)
    if found is None:
        # Celery's settings are slow to read, and this is asked for each task.
        found = _known[app] = _look(app)
    return found


def _look(app: Celery) -> str:
    connection = app.connection_for_read()
    driver = str(getattr(connection.get_transport_cls(), "driver_type", "N/A"))
    # Some of kombu's transports don't say.
    name = str(connection.transport_cls) if driver == "N/A" else driver
    return _SYSTEMS.get(name.lower(), name.lower())
