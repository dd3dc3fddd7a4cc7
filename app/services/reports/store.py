"""The table of reports, and where their files are."""

from __future__ import annotations

import re
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import delete, true, update
from sqlalchemy.exc import IntegrityError

from app import db, patience
from app.models.reports import Report as Row
from app.services import files
from app.services.reports.types import Scope

FOLDER = "reports"  # in FILES_DIR
_NAMESPACE = uuid.UUID("5d0c2f5e-6d4b-5f0a-9a6e-0f5b7c1f3a77")
_UUID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True)
class Report:
    """A report as it is kept; `file_path` is inside FILES_DIR, `size` in bytes, times are UTC."""

    id: str
    type: str
    parameters: dict[str, str]
    status: str
    file_path: str
    size: int | None
    created_at: datetime

    @property
    def completed(self) -> bool:
        return self.status == Row.COMPLETED

    @property
    def failed(self) -> bool:
        return self.status == Row.FAILED

    @property
    def download_name(self) -> str:
        """A name for people, such as payments_2026-11-01_2026-11-30.pdf."""
        return f"{'_'.join([self.type, *self.parameters.values()])}.pdf"


def identity(reference: str) -> str:
    """The id of the report of a reference: a task id's own digits, of another text a hash."""
    if is_task_id(reference):
        return reference.replace("-", "")
    return uuid.uuid5(_NAMESPACE, reference).hex


def is_task_id(text: str) -> bool:
    """Whether it is a UUID, with hyphens or without."""
    return bool(_UUID.fullmatch(text))


def begun(reference: str, scope: Scope) -> Report:
    """The report of this reference, which is a new one only the first time."""
    report_id = identity(reference)
    # Another process may be faster.
    with suppress(IntegrityError), db.session() as session:
        if session.get(Row, report_id) is None:
            session.add(Row(id=report_id, **_new(report_id, reference, scope)))
    return found(report_id)


def _new(report_id: str, reference: str, scope: Scope) -> dict[str, Any]:
    return {
        "reference": reference,
        "type": scope.type,
        "parameters": dict(scope.parameters),
        "status": Row.GENERATING,
        "file_path": f"{FOLDER}/{scope.type}_{report_id}.pdf",
        "created_at": datetime.now(UTC),
    }


def found(report_id: str) -> Report:
    """The report of this id; raises LookupError if it was deleted meanwhile."""
    report = find(report_id)
    if report is None:
        raise LookupError(f"The report {report_id} was deleted.")
    return report


def find(report_id: str) -> Report | None:
    with db.session() as session:
        row = session.get(Row, report_id)
        return _report(row) if row else None


def _report(row: Row) -> Report:
    created = row.created_at
    return Report(
        id=row.id,
        type=row.type,
        parameters=row.parameters,
        status=row.status,
        file_path=row.file_path,
        size=row.size,
        # SQLite forgets the time zone; the tables are in UTC.
        created_at=created if created.tzinfo else created.replace(tzinfo=UTC),
    )


def completed(report_id: str, size: int) -> None:
    now = datetime.now(UTC)
    _change(report_id, status=Row.COMPLETED, size=size, finished_at=now)


def failed(reference: str) -> None:
    """Note that nobody works on a report any more, unless it is there."""
    _change(identity(reference), status=Row.FAILED, finished_at=datetime.now(UTC))


def _change(report_id: str, **values: Any) -> None:
    unfinished = Row.status != Row.COMPLETED if values["status"] == Row.FAILED else true()
    with db.session() as session:
        session.execute(update(Row).where(Row.id == report_id, unfinished).values(**values))


def path(report: Report) -> Path:
    """The report's file; raises OutsideError if it is gone, or is not in FILES_DIR."""
    return files.find(folder().parent, report.file_path)


def folder() -> Path:
    root: Path = current_app.extensions["settings"].files_dir
    return root / FOLDER


def forget(before: datetime) -> None:
    """Delete the rows of reports asked for before this moment."""
    old = delete(Row).where(Row.created_at < before)
    with patience.endless(), db.session() as session:
        session.execute(old.execution_options(synchronize_session=False))
