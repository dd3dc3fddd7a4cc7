"""One service under supervision: its process, its state and its way down."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from app.manage.ports import Probe
from app.manage.processes import Child, Process, kill_group, send
from app.manage.ready import READY_FILE
from app.manage.records import Record, RunDirectory
from app.manage.services import Service

WAITING, STARTING, RUNNING, STOPPING = "waiting", "starting", "running", "stopping"
BACKOFF, FAILED, STOPPED, DONE = "restarting", "failed", "stopped", "done"


@dataclass(frozen=True)
class Place:
    """Where services run: their working directory, environment, records and logs."""

    home: Path
    env: dict[str, str]
    run: RunDirectory
    logs: Path

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


class Unit:
    """A service and its process; times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, service: Service, place: Place) -> None:
        self.service = service
        self.name = service.name
        self.place = place
        self.process: Process | None = None
        self.state = STOPPED
        self.restarts = 0
        self.began = 0.0
        self.due = 0.0
        self.asked: float | None = None
        self.after = STOPPED
        self.reason = ""
        self._since = time.time()
        self._step = 0
        self._probes: list[Probe] = []

    def enter(self, state: str) -> None:
        """Change the state and tell it to whoever reads the run directory."""
        self.state = state
        run, process = self.place.run, self.process
        if process is None and state in (STOPPED, DONE):
            run.remove(self.name)
            return
        pid, started = (process.pid, process.started) if process else (0, None)
        run.write(Record(self.name, pid, started, state, self._since, self.restarts))

    def start(self, now: float) -> None:
        """Start the process; raises OSError if its program can't be run."""
        ready = self.place.run.ready_file(self.name)
        ready.unlink(missing_ok=True)
        self.began = now
        self._since = time.time()
        self._probes = [Probe(question) for question in self.service.questions]
        self.process = Child(self._spawn({READY_FILE: str(ready)}))
        self.enter(STARTING)

    def _spawn(self, extra: dict[str, str]) -> subprocess.Popen[bytes]:
        # A file, not a pipe: a service goes on when the manager is killed or its terminal hangs.
        # A session of its own: a terminal's Ctrl-C reaches the manager alone.
        # No PR_SET_PDEATHSIG: a killed manager would take all down at once and in no order, and
        # macOS has none; the pid files let the next command stop in order what is left.
        with self.place.log(self.name).open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                self.service.argv,
                cwd=self.place.home,
                env={**self.place.env, **extra},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def adopt(self, process: Process) -> None:
        """Take over a process that an earlier manager left."""
        self.process = process
        self.state = RUNNING

    def ready(self) -> bool:
        """Whether the process has given every sign of readiness."""
        if self.service.once:
            return False
        self._probes = [probe for probe in self._probes if not probe.answered()]
        announced = self.place.run.ready_file(self.name).exists()
        return not self._probes and (announced or not self.service.announces)

    def reap(self) -> Process | None:
        """The process if it has just ended; what is left of its group is killed."""
        process = self.process
        if process is None or not process.exited():
            return None
        kill_group(process.pid)
        self._forget()
        return process

    def _forget(self) -> None:
        for probe in self._probes:
            probe.close()
        self.place.run.ready_file(self.name).unlink(missing_ok=True)
        self.process = None

    def leave(self, after: str) -> None:
        """Be on the way down, and in the state `after` at its end."""
        self.after = after
        self.asked = None
        self._step = -1
        self.enter(STOPPING)

    def descend(self, now: float, *, hurry: bool) -> None:
        """Send the next signal of the way down if it is due; `hurry` waits for a kill alone."""
        following = self.service.stop[self._step + 1 :]
        if self.process is None or not following:
            return
        step = following[0]
        hurried = hurry and step.signal != SIGKILL
        if not hurried and now < (self.asked or 0.0) + step.after:
            return
        self._step += 1
        if step.signal == SIGKILL:
            kill_group(self.process.pid)
        send(self.process.pid, step.signal)
