"""The queues, and which task goes where. A name that isn't here is refused, not created."""

from __future__ import annotations

from collections.abc import Iterable

EMAIL = "email"
HIGH_PRIORITY = "high_priority"
REPORTS = "reports"
DEFAULT = "default"
LOW_PRIORITY = "low_priority"

NAMES = (EMAIL, HIGH_PRIORITY, REPORTS, DEFAULT, LOW_PRIORITY)

# Seconds for which a worker may hold a message: while the task waits for its time, as a receiver of
# a webhook may ask for, and while it runs.
LONGEST_WAIT = 60 * 60
LONGEST_RUN = 30 * 60
LONGEST_HELD = LONGEST_WAIT + LONGEST_RUN

# A task that is not named here goes to the default queue. (Celery 6 heeds no `queue` of a task.)
ROUTES = {
    "tasks.send_email": EMAIL,
    "tasks.send_bulk_emails": EMAIL,
    "tasks.process_payment": HIGH_PRIORITY,
    "tasks.generate_report": REPORTS,
    "tasks.high_priority": HIGH_PRIORITY,
    "tasks.low_priority": LOW_PRIORITY,
}


def problem(names: Iterable[str]) -> str | None:
    """What is wrong with these names of queues, in one line; None if there is a queue for each."""
    unknown = [name for name in names if name not in NAMES]
    if not unknown:
        return None
    return f"no queue is named {', '.join(map(repr, unknown))}; the queues are {', '.join(NAMES)}"
