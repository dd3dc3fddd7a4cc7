"""The jobs: a module a family. Telemetry comes from the kit, not from here."""

from __future__ import annotations

from pkgutil import iter_modules


def modules() -> list[str]:
    """The names of the modules here, which Celery loads."""
    return [f"{__name__}.{module.name}" for module in iter_modules(__path__)]
