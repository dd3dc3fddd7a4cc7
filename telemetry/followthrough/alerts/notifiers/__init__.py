"""What a notifier is: a name and one method that says by its errors how a delivery went."""

from __future__ import annotations

from typing import Protocol

from ..alert import Alert


class Retry(Exception):  # noqa: N818
    """Raised when the same alert may be taken later.

    `reason` is free of secrets, since it is logged; `after` is how many seconds the receiver asked
    to wait, None if it didn't.
    """

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Refused(Exception):  # noqa: N818
    """Raised when the alert will never be taken; the reason is free of secrets."""


class Notifier(Protocol):
    """Delivers alerts to one receiver."""

    @property
    def name(self) -> str:
        """What settings, logs and progress files call it: lower-case letters, digits, - and _."""

    def notify(self, alert: Alert) -> None:
        """Deliver `alert` within seconds, or raise Retry or Refused."""
