"""From settings to running services: what is checked first, and what people are told."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable

from app.manage import ports
from app.manage.output import Tail, table, wants_colour, write
from app.manage.processes import Stranger, start_token
from app.manage.records import MANAGER, Record, RunDirectory
from app.manage.services import Service, shown
from app.manage.session import Session
from app.manage.supervisor import Supervisor
from app.manage.unit import RUNNING, Place
from app.settings import HOME, Settings

REFUSED = 2  # exit code
EXAMPLE = (
    "curl -i {url}/api/send-email -H 'Content-Type: application/json' "
    """-d '{{"recipient": "ada@example.com", "subject": "Hello", "body": "It works."}}'"""
)


class Start:
    """One `up`: `place` is where the services run, `follow` shows their logs in this terminal."""

    def __init__(self, settings: Settings, table_of: list[Service], *, follow: bool) -> None:
        self.settings = settings
        self.services = table_of
        self.follow = follow
        self.place = place(settings, follow=follow)
        self.began = time.monotonic()

    def __call__(self, on_ready: Callable[[], None] | None = None) -> int:
        """Check, start, serve and stop; the exit code."""
        if problem := self._prepare():
            return refuse([problem])
        run = self.place.run
        if not run.acquire():
            return refuse([self._running(), *ports.problems(self.services)])
        try:
            stop_leftovers(self.place)
            if problems := ports.problems(self.services):
                return refuse(problems)
            pid = os.getpid()
            run.write(Record(MANAGER, pid, start_token(pid), RUNNING, time.time()))
            return self._serve(on_ready)
        finally:
            run.remove(MANAGER)
            run.release()

    def _prepare(self) -> str | None:
        """Make the directories; the problem if that fails."""
        state = self.settings.state_dir
        try:
            for folder in (state / "run", state / "log", state / "redis"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"STATE_DIR: {state} can't be written ({error.strerror}); set another directory"
        return None

    def _running(self) -> str:
        manager = self.place.run.manager()
        pid = f"pid {manager.pid}" if manager else "just starting"
        return (
            f"already running from {shown(self.settings.state_dir)} ({pid}); stop it with: "
            "python -m app down. A second one needs its own STATE_DIR and ports:"
        )

    def _serve(self, on_ready: Callable[[], None] | None) -> int:
        tail = self._tail()
        supervisor = Supervisor(self.services, self.place, self._say)
        self._say(f"starting {', '.join(supervisor.units)}")

        def ready() -> None:
            write(sys.stdout, self._welcome())
            if on_ready:
                on_ready()

        code = Session(supervisor, self.place, tail).run(ready)
        self._say("all is stopped")
        if tail:
            tail.show()
            tail.close()
        return code

    def _tail(self) -> Tail | None:
        if not self.follow:
            return None
        logs = [self.place.log(name) for name in (MANAGER, *(s.name for s in self.services))]
        return Tail(logs, sys.stdout, colour=wants_colour(sys.stdout, os.environ))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError), self.place.log(MANAGER).open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def _welcome(self) -> str:
        addresses = [address for service in self.services for address in service.addresses]
        api = next(s.addresses[0].url for s in self.services if s.name == "web")
        # What people open first, first.
        order = sorted(addresses, key=lambda a: (a.url != api, not a.url.startswith("http")))
        rows = [(address.url, address.purpose) for address in order]
        seconds = time.monotonic() - self.began
        end = "Ctrl-C stops everything." if self.follow else "python -m app down stops everything."
        return (
            f"\nReady after {seconds:.1f} s. {end}\n\n{table(rows, '  ')}"
            f"\nTry:\n  {EXAMPLE.format(url=api)}\n\n"
        )


def stop_leftovers(where: Place) -> None:
    """Stop, in order, the services of a manager that was killed."""
    left = where.run.services()
    if not left:
        return
    found = ", ".join(f"{record.name} (pid {record.pid})" for record in left)
    write(sys.stdout, f"left by a manager that was killed, now stopped: {found}\n")
    supervisor = Supervisor([Service(record.name, ()) for record in left], where, lambda _: None)
    for record in left:
        supervisor.units[record.name].adopt(Stranger(record.pid, record.started))
    Session(supervisor, where, None).stop()


def refuse(problems: Iterable[str]) -> int:
    """Tell each problem on a line of its own; the exit code."""
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return REFUSED


def place(settings: Settings, *, follow: bool = False) -> Place:
    """Where the services of these settings run; `follow` if this terminal will show their logs."""
    state = settings.state_dir
    # A service has its own working directory, where a relative path would mean another place.
    paths = {"STATE_DIR": state, "FOLLOWTHROUGH_STATE_DIR": settings.telemetry.state_dir}
    # The agent is one of the services.
    own = {"FOLLOWTHROUGH_START_AGENT": "false"}
    env = {**os.environ, **own, **{name: str(path) for name, path in paths.items()}}
    extra = _terminal(settings) if follow else {}
    return Place(HOME, {**env, **extra}, RunDirectory(state / "run"), state / "log")


def _terminal(settings: Settings) -> dict[str, str]:
    """What services, which write to files, are told about the terminal that shows these."""
    env = {}
    if sys.stdout.isatty() and settings.telemetry.log_format == "auto":
        env["FOLLOWTHROUGH_LOG_FORMAT"] = "console"
    if wants_colour(sys.stdout, os.environ):
        env["FORCE_COLOR"] = "1"
    return env
