"""What beat has done regularly: each once a period, however often its tick arrives."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from celery import Signature, Task, shared_task
from flask import current_app

from app.schedule import scheduled_at
from app.services import periods
from app.services.failures import JobFailedError
from app.services.periods import Period
from app.tasks.email import send_bulk_emails, send_email

if TYPE_CHECKING:
    from app.services.reports import Report

Result = dict[str, Any]

DAILY = "daily_summary"
MONTHLY = "monthly_summary"

# No later tick does their work: they are tried again for about a day, after 1, 2, 4 ... 60 minutes.
PATIENT = {
    "autoretry_for": (Exception,),
    "dont_autoretry_for": (JobFailedError,),
    "retry_backoff": 60,
    "retry_backoff_max": 3600,
    "retry_jitter": False,
    "max_retries": 28,
}


@shared_task(name="tasks.cleanup_expired_sessions", bind=True)
def cleanup_expired_sessions(self: Task) -> Result:
    """Delete the sessions that have expired; gives their number."""
    # Only the pool process that runs it loads SQLAlchemy.
    from app.services import sessions  # noqa: PLC0415

    return _once(self, periods.minute, lambda _: {"cleaned": sessions.delete_expired()})


@shared_task(name="tasks.sync_external_data", bind=True)
def sync_external_data(self: Task) -> Result:
    """Fetch and save the rows of each source; gives what came of each, by its name."""
    from app.services import synchronisation  # noqa: PLC0415

    def work(period: Period) -> Result:
        return synchronisation.every(lambda source: _id(self, period, source.id))

    return _once(self, periods.hour, work)


@shared_task(name="tasks.generate_daily_report", bind=True, **PATIENT)
def generate_daily_report(self: Task, report_type: str = DAILY) -> Result:
    """Make yesterday's report and mail it to REPORT_RECIPIENTS."""
    from app.services import reports  # noqa: PLC0415

    if report_type != DAILY:
        raise JobFailedError(f"report_type: must be {DAILY}; tasks.generate_report makes others.")

    def work(period: Period) -> Result:
        reference = f"{DAILY}:{period.name}"
        report = reports.make(DAILY, {"date": period.name}, reference)
        _mail(self, period, report, f"Daily report {period.name}")
        return {"report_type": DAILY, "report_date": period.name, **_generated(report)}

    return _once(self, periods.day_before, work)


@shared_task(name="tasks.generate_monthly_report", bind=True, **PATIENT)
def generate_monthly_report(self: Task) -> Result:
    """Make last month's report and mail it to REPORT_RECIPIENTS."""
    from app.services import reports  # noqa: PLC0415

    def work(period: Period) -> Result:
        reference = f"{MONTHLY}:{period.name}"
        report = reports.make(MONTHLY, {"month": period.name}, reference)
        _mail(self, period, report, f"Monthly report {period.name}")
        return {"month": period.name, **_generated(report)}

    return _once(self, periods.month_before, work)


@shared_task(name="tasks.send_weekly_digest", bind=True, **PATIENT)
def send_weekly_digest(self: Task) -> Result:
    """Queue a mail about last week for each subscriber who wants one."""
    from app.services import bulkmail, digest  # noqa: PLC0415

    def work(period: Period) -> Result:
        # Its recipients are kept at its first try; killed and run again it is the same mailing.
        mailing = bulkmail.begun(_id(self, period), segment="weekly_digest")
        if mailing.total:
            mail = {"subject": f"Weekly digest {period.name}", "body": digest.text(*_days(period))}
            _publish([send_bulk_emails.s(**mail).set(task_id=mailing.id)])
        return {"status": "sent", "recipient_count": mailing.total}

    return _once(self, periods.week_before, work)


def _once(
    task: Task, kind: Callable[[datetime, tzinfo], Period], work: Callable[[Period], Result]
) -> Result:
    from app.services import runs  # noqa: PLC0415

    period = kind(scheduled_at(task), _zone())
    return runs.once(task.name, period, task.request.id, lambda: work(period))


def _zone() -> ZoneInfo:
    return ZoneInfo(current_app.extensions["settings"].timezone)


def _days(period: Period) -> tuple[str, str]:
    """The first and the last day of a period of days."""
    last = period.end.astimezone(_zone()) - timedelta(days=1)
    return f"{period.start.astimezone(_zone()).date()}", f"{last.date()}"


def _generated(report: Report) -> Result:
    return {"status": "generated", "report_id": report.id}


def _id(task: Task, period: Period, *parts: object) -> str:
    """An id that is the same whenever this part of a period's work is done."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, (task.name, period.name, *parts)))))


def _mail(task: Task, period: Period, report: Report, subject: str) -> None:
    """Queue the report's mails, each under an id of its own, so that it is sent once."""
    mail = {
        "subject": subject,
        "body": f"{subject} is attached.\n",
        "attachments": [report.file_path],
    }
    recipients = dict.fromkeys(current_app.extensions["settings"].report_recipients)
    _publish(send_email.s(each, **mail).set(task_id=_id(task, period, each)) for each in recipients)


def _publish(signatures: Iterable[Signature]) -> None:
    from app import registry  # noqa: PLC0415

    tasks = list(signatures)
    if tasks:
        registry.publish_all(tasks, tasks[0].options["task_id"])
