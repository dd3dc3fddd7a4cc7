"""Starts the agent of a state directory where nobody else did."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from .. import slots

EVERY = 1.0  # seconds between two looks for an agent
LONGEST = 60.0  # between two looks where agents don't live

logger = logging.getLogger(__name__)


class Launcher:
    """Looks for the agent now and then, and starts one where its lock is free.

    Several processes may do so at once: the lock lets one agent live, and the others end at once.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._next = 0.0
        self._pause = EVERY
        # Kept, since Python warns of a process that is forgotten while it runs.
        self._child: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Start an agent if there is none; costs nothing most of the time."""
        now = time.monotonic()
        if now < self._next:
            return
        # By chance, so that not all processes of the host start one at the same moment.
        self._next = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311  no secret
        try:
            self._start_if_free()
        except OSError as error:
            self._next = now + LONGEST
            logger.warning("no agent can be started: %s", error)

    def _start_if_free(self) -> None:
        if self._child is not None and self._child.poll() is None:
            return
        if not self._is_free():
            self._pause = EVERY
        else:
            # One that ended as soon as it began would end again.
            self._pause = min(LONGEST, self._pause * 2) if self._child else EVERY
            self._start()

    def _is_free(self) -> bool:
        fd = slots.lock(self._state_dir / "agent.lock")
        if fd is None:
            return False
        os.close(fd)
        return True

    def _start(self) -> None:
        with (self._state_dir / "agent.log").open("ab") as output:
            argv = [sys.executable, "-m", f"{__package__.partition('.')[0]}.cli", "agent"]
            self._child = subprocess.Popen(  # noqa: S603  this Python, this package
                [*argv, "--until-idle"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A signal to the program's group, as Ctrl-C sends it, is not for the agent.
                start_new_session=True,
                env={**os.environ, "FOLLOWTHROUGH_STATE_DIR": str(self._state_dir)},
            )
