"""Reports: PDF files about what the service has done, made once and kept for a while."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from flask import current_app

from app.services import files
from app.services.files import OutsideError
from app.services.reports import rows, store, types
from app.services.reports.store import Report
from app.services.reports.types import ParametersError, Scope, UnknownTypeError

__all__ = ["ParametersError", "Report", "UnknownTypeError", "forget", "make", "scope"]

READ = 40  # percent of the work, before the drawing
SAVING = 90
MOST_DAYS = 36_500

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
    report = store.begun(reference, scope(report_type, parameters))
    if not _is_there(report):
        # As it was asked for at first: what is left open depends on the day.
        _write(report, scope(report.type, report.parameters), shown)
    return store.found(report.id)


def _is_there(report: Report) -> bool:
    try:
        store.path(report)
    except OutsideError:
        return False
    return report.completed


def _write(report: Report, scope: Scope, shown: Shown) -> None:
    # Only who makes a report loads reportlab.
    from app.services.reports import pdf  # noqa: PLC0415

    shown("generating", 0)
    document = rows.read(
        scope, report.created_at, lambda share: shown("generating", int(READ * share))
    )
    drawn = pdf.drawn(
        document, lambda share: shown("generating", int(READ + (SAVING - READ) * share))
    )
    shown("saving", SAVING)
    with files.written(store.folder(), Path(report.file_path).name) as part:
        part.file.write(drawn)
    store.completed(report.id, len(drawn))


def scope(report_type: str, parameters: Mapping[str, object]) -> Scope:
    """What is asked for now, in the days of TIMEZONE.

    Raises UnknownTypeError or ParametersError.
    """
    zone = ZoneInfo(current_app.extensions["settings"].timezone)
    return types.scope(report_type, parameters, datetime.now(UTC), zone)


def forget() -> None:
    """Delete what was made more than REPORTS_KEPT days ago, and what a killed process left."""
    days = min(current_app.extensions["settings"].reports_kept, MOST_DAYS)
    before = datetime.now(UTC) - timedelta(days=days)
    store.forget(before)
    files.forget(store.folder(), before)
