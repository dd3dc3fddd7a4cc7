"""The tables of the service, a module a family; all are imported so that migrations see them."""

from __future__ import annotations

from app.models.base import Base
from app.models.imports import Dataset, DatasetBadRow, DatasetColumn, DatasetRow
from app.models.mail import BulkMail, BulkMailRecipient, SentMail, Subscriber
from app.models.payments import Payment, SandboxCharge
from app.models.practice import Checkpoint, Item, Record
from app.models.reports import Report
from app.models.schedule import PeriodRun, SessionRecord
from app.models.sources import EtlRun, Source, SourceRecord
from app.models.tasks import Submission, TaskRecord
from app.models.webhooks import WebhookDelivery

__all__ = [
    "Base",
    "BulkMail",
    "BulkMailRecipient",
    "Checkpoint",
    "Dataset",
    "DatasetBadRow",
    "DatasetColumn",
    "DatasetRow",
    "EtlRun",
    "Item",
    "Payment",
    "PeriodRun",
    "Record",
    "Report",
    "SandboxCharge",
    "SentMail",
    "SessionRecord",
    "Source",
    "SourceRecord",
    "Submission",
    "Subscriber",
    "TaskRecord",
    "WebhookDelivery",
]
