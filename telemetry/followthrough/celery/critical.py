"""Critical tasks: which they are, and the alert that their bad end leaves for the agent."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..outcome import Outcome
    from ..settings import Settings


class _Current:
    settings: Settings | None = None


def use(settings: Settings) -> None:
    """Take the patterns and the state directory from `settings`."""
    _Current.settings = settings


def is_critical(name: str, task: Any) -> bool:
    """Whether the task says `critical=True`, or a pattern of the settings names it."""
    patterns = _Current.settings.critical_tasks if _Current.settings else ()
    return bool(getattr(task, "critical", False)) or any(fnmatchcase(name, p) for p in patterns)


def alert(outcome: Outcome, name: str, task_id: str, task: Any, trace_id: str) -> None:
    """Write one alert to the spool if the task is critical."""
    settings = _Current.settings
    if settings is None or not is_critical(name, task):
        return
    from .. import setup  # noqa: PLC0415
    from ..alerts import alert as alerts  # noqa: PLC0415
    from ..alerts import spool  # noqa: PLC0415

    spool.write(
        settings.state_dir,
        alerts.new_alert(
            task=name,
            task_id=task_id,
            outcome=outcome.kind,
            error_type=outcome.error_type,
            message=outcome.message,
            trace_id=trace_id,
            service=setup.service(),
        ),
    )
