"""The SDK's provider, but that a forked child keeps what the environment says of it."""

from __future__ import annotations

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider


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
