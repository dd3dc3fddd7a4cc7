"""Where a task's time went, from the clocks of the hosts it passed."""

from __future__ import annotations

from datetime import datetime

from .. import names

# The worker's main process notes in a message's delivery_info when it came; the pool's process
# gets that with the message.
RECEIVED = "followthrough_received"


def waits(
    sent: float | None, received: float | None, eta: float | None, started: float
) -> dict[str, float]:
    """Attributes of the time before the start; all in seconds since 1970, None where not known.

    The sender's clock may be ahead of or behind the worker's, and so may the clock that an ETA was
    made by: no time is negative, and what is not known is left out.
    """
    found: dict[str, float] = {}
    if sent is not None:
        found[names.TIME_PUBLISHED] = sent
        there = started if received is None else received
        found[names.TIME_BROKER] = round(there - sent, 6) if there > sent else 0.0
    if received is None:
        return found
    due = received
    if eta is not None:
        due = min(max(received, eta), started)
        found[names.TIME_ETA] = round(due - received, 6) if due > received else 0.0
    found[names.TIME_PREFETCHED] = round(started - due, 6) if started > due else 0.0
    return found


def wait(sent: float | None, started: float) -> float | None:
    """Seconds from a message's publishing to its start."""
    if sent is None:
        return None
    return round(started - sent, 6) if started > sent else 0.0


def timestamp(iso: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 text with a zone; None for anything else."""
    if not isinstance(iso, str):
        return None
    try:
        at = datetime.fromisoformat(iso)
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo is not None else None
