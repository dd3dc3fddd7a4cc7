"""A soft time limit that strikes in a hook: the hook is finished, the task hears of it after.

Billiard raises it at any bytecode of the main thread, and what a signal's receiver raises Celery
swallows: the task would go on as if it had all the time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded
from billiard.pool import SIG_SOFT_TIMEOUT

LATER = 0.02  # seconds: well after a hook, and nothing to a limit


def finish(hook: Callable[..., None], *args: Any, send_again: bool = False) -> None:
    """Call a hook that may be called again where it was cut off. A hot one does it itself.

    With `send_again` the limit is said again, once the task runs; a task that is over needs none.
    """
    try:
        hook(*args)
    except SoftTimeLimitExceeded:
        # It is sent once only.
        hook(*args)
        if send_again:
            again()


def again() -> None:
    """Have the limit raised anew, when this hook and the signal that called it have returned."""
    timer = threading.Timer(LATER, os.kill, (os.getpid(), SIG_SOFT_TIMEOUT))
    timer.daemon = True
    timer.start()
