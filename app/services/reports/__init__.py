"""Reports: PDF files about what the service has done, made once and kept for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.services.reports import store
from app.services.reports.store import Report
from app.services.reports.types import ParametersError, UnknownTypeError, scope

__all__ = ["ParametersError", "Report", "UnknownTypeError", "make", "scope", "store"]

Shown = Callable[[str, int], None]


def make(
    report_type: str,
    parameters: Mapping[str, object],
    reference: str,
    shown: Shown = lambda _status, _percent: None,
) -> Report:
    """The report of this reference, made now unless it is there.

    `reference` is a task's id, or a key such as "daily_summary:2026-11-23". `shown` is called with
    a status and a percentage while it is made. Raises UnknownTypeError or ParametersError.
    """
    raise NotImplementedError
