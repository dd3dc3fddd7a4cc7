"""What the broker is, by the names of the semantic conventions."""

from __future__ import annotations

from typing import Any

_SYSTEMS = {"amqp": "rabbitmq", "sqs": "aws_sqs"}
_known: dict[str, str] = {}


def system(app: Any) -> str:
    """The messaging system of an app's broker; empty where there is no app."""
    if app is None:
        return ""
    url = str(app.conf.broker_read_url or app.conf.broker_url or "")
    if url not in _known:
        driver = app.connection_for_read().transport.driver_type
        _known[url] = _SYSTEMS.get(driver, driver)
    return _known[url]
