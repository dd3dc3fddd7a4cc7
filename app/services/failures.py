"""A job that failed for good, with what its caller should know beside the message."""

from __future__ import annotations

from typing import Any


class JobFailedError(Exception):
    """Raised by a task at its end; both flags are shown with the task's status.

    `retryable`: the same job may succeed later. `retries_exhausted`: it was tried in vain as often
    as the task allows.
    """

    def __init__(
        self, message: str, retryable: bool = False, retries_exhausted: bool = False
    ) -> None:
        # Celery stores these arguments, and makes the error from them again.
        super().__init__(message, retryable, retries_exhausted)
        self.message = message
        self.retryable = retryable
        self.retries_exhausted = retries_exhausted

    def __str__(self) -> str:
        return self.message

    @property
    def details(self) -> dict[str, bool]:
        """The members for an answer; how often was tried matters only where a try may help."""
        exhausted = {"retries_exhausted": True} if self.retries_exhausted else {}
        return {"retryable": self.retryable, **exhausted}


def again(task: Any, message: str, countdown: float) -> Exception:
    """What a task raises to be tried again in so many seconds, or to end after its last try."""
    if task.request.retries >= task.max_retries:
        return JobFailedError(message, retryable=True, retries_exhausted=True)
    reason = JobFailedError(message, retryable=True)
    retry: Exception = task.retry(exc=reason, countdown=countdown, throw=False)
    return retry
