"""What `followthrough.configure` does, once a process."""

from __future__ import annotations

import functools
from importlib import metadata

from . import guard, logs, metrics, slots, tracing
from .alerts import keep
from .logs import records
from .recorder import left
from .settings import Settings, load

DEFAULT_SERVICE = "unknown_service"


class _Current:
    settings: Settings | None = None
    service: str = DEFAULT_SERVICE


def configure(service_name: str | None, settings: Settings | None) -> Settings:
    """Apply settings to this process; the first service name given is kept."""
    if _Current.settings is not None and settings in (None, _Current.settings):
        return _Current.settings
    chosen = settings or load(Settings)
    _Current.service = chosen.service_name or service_name or _Current.service
    _apply(_Current.service, chosen)
    _Current.settings = chosen
    return chosen


def _apply(service: str, settings: Settings) -> None:
    guard.strict = settings.strict
    guard.count = metrics.count_error
    logs.configure_logs(settings.log_format, settings.log_level, service)
    slots.held.on_taken = left.take_over_slot
    metrics.use(settings.state_dir)
    keep.use(settings.state_dir, service, tracing.keep_event)
    tracing.configure(service, settings)
    records.use(tracing.log_recorder(service, settings))


@functools.cache
def version() -> str | None:
    """The kit's version; None where it is not installed as a distribution."""
    try:
        return metadata.version("followthrough")
    except metadata.PackageNotFoundError:
        return None


def service() -> str:
    """The name this process goes by."""
    return _Current.service


def forget() -> None:
    """Forget the settings, so that the next `configure` reads them anew; for tests."""
    records.use(None)
    _Current.settings = None
    _Current.service = DEFAULT_SERVICE
