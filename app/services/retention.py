"""What is deleted after its time, so that the service stays small."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from app.services import (
    bulkmail,
    checkpoints,
    deliveries,
    files,
    outbox,
    reports,
    thumbnails,
    uploads,
)
from app.services.etl import pipeline
from app.services.payments import sandbox

if TYPE_CHECKING:
    from app.settings import Settings


def forget(settings: Settings, before: datetime) -> None:
    """Delete what nobody has touched since `before`; payments and datasets are kept."""
    deliveries.forget(before)
    outbox.forget(before)
    checkpoints.forget_old(before)
    bulkmail.forget(before)
    sandbox.forget(before)
    # These have a time of their own.
    reports.forget()
    pipeline.tidy(before)
    # Uploads whose task never came to its end.
    files.forget(settings.import_dir / uploads.UPLOADS, before)
    files.forget(settings.files_dir / thumbnails.FOLDER, before)
