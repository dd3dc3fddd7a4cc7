"""The SDK's providers, but that a forked child keeps what the environment says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import _logs
from opentelemetry._logs import _internal
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider

if TYPE_CHECKING:
    from ..recorder.recorder import Recorder


class Provider(TracerProvider):
    """A provider of a service's spans."""

    def __init__(self, service: str) -> None:
        # Its own exit handler may wait 30 seconds.
        super().__init__(resource=resource(service), shutdown_on_exit=False)

    def _handle_fork(self) -> None:
        # The child has a pid and a service.instance.id of its own, but for one that was given.
        super()._handle_fork()
        self._update_resource(OTELResourceDetector().detect())


def resource(service: str) -> Resource:
    """What every record says of its origin: the detectors' findings, the environment wins."""
    return Resource.create({"service.name": service})


def provide_logger(recorder: Recorder, resource: Resource) -> None:
    """Set the global provider of loggers, unless the host has set one."""
    from opentelemetry.sdk._logs import LoggerProvider  # noqa: PLC0415

    from ..recorder.logs import RecorderLogProcessor  # noqa: PLC0415

    if isinstance(_logs.get_logger_provider(), _internal.ProxyLoggerProvider):
        provider = LoggerProvider(resource, shutdown_on_exit=False)
        provider.add_log_record_processor(RecorderLogProcessor(recorder))
        _logs.set_logger_provider(provider)
