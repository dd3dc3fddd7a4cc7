"""Programs of test_alerts.py: a dispatcher that serves, and deliveries killed at a chosen line."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from followthrough import alerts
from followthrough.agent.events import Events
from followthrough.alerts import dispatcher, spool
from followthrough.alerts.alert import Alert, new_alert, to_json
from followthrough.alerts.build import build
from followthrough.alerts.keep import ALERT
from followthrough.recorder.recorder import Recorder
from followthrough.settings import Settings, load

ALERTS_CODE = Path(alerts.__file__).parent
# Whose lines are those at which a kill is tried.
KIT = (
    str(ALERTS_CODE),
    str(ALERTS_CODE.parent / "recorder"),
    str(ALERTS_CODE.parent / "agent" / "events.py"),
)
ALERTS = [
    new_alert(task="tasks.pay", task_id=str(number), outcome="failure", timestamp=number)
    for number in range(2)
]


class Ledger:
    """A notifier whose receiver is a file: one line a delivery."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.name = name
        self._file = state_dir / f"ledger.{name}"

    def notify(self, alert: Alert) -> None:
        with self._file.open("a") as file:
            file.write(f"{alert.id}\n")

    def lines(self) -> list[str]:
        return self._file.read_text().split() if self._file.exists() else []


def serve() -> None:
    """Deliver what the spool holds until killed."""
    settings = load(Settings)
    dispatcher.Dispatcher(settings.state_dir, build(settings)).run(threading.Event())


def deliver(state_dir: Path) -> None:
    """Deliver all that waits to two ledgers."""
    ledgers = [Ledger(state_dir, "one"), Ledger(state_dir, "two")]
    worker = dispatcher.Dispatcher(state_dir, ledgers)
    while spool.pending(state_dir):
        worker.step(0.0)


def write(state_dir: Path) -> None:
    for alert in ALERTS:
        spool.write(state_dir, alert)


def killed_at(line: int, work: Callable[[Path], None], state_dir: Path) -> bool:
    """Run `work` in a child that is killed before the alerts' nth line; False if it ended first."""
    if (child := os.fork()) == 0:
        sys.settrace(_killer(line))
        work(state_dir)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _killer(line: int) -> Callable[[FrameType, str, Any], Any]:
    numbers = itertools.count(1)

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        ours = frame.f_code.co_filename.startswith(KIT)
        if not ours and frame.f_code is not Ledger.notify.__code__:
            return None
        if event in ("line", "return") and next(numbers) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def kill_deliveries(root: Path) -> None:
    """Kill a delivery at each line in turn, restart it, and print what came of it."""
    for line in itertools.count(1):
        state_dir = root / str(line)
        write(state_dir)
        killed = killed_at(line, deliver, state_dir)
        deliver(state_dir)
        if not killed:
            return
        report(state_dir, line)


def kill_writes(root: Path) -> None:
    """Kill the writing of alerts at each line in turn, write them again, and deliver them."""
    for line in itertools.count(1):
        state_dir = root / str(line)
        killed = killed_at(line, write, state_dir)
        write(state_dir)
        deliver(state_dir)
        if not killed:
            return
        report(state_dir, line)


def kill_rings(root: Path) -> None:
    """Kill a process at each line in which it leaves alerts in its ring, and deliver them."""
    for line in itertools.count(1):
        state_dir = root / str(line)
        state_dir.mkdir(parents=True)
        killed = killed_at(line, leave, state_dir)
        Events(state_dir).look()
        deliver(state_dir)
        if not killed:
            return
        report(state_dir, line, _kept(state_dir))


def kill_readers(root: Path) -> None:
    """Kill the agent's reader of rings at each line in turn, and let another go on."""
    for line in itertools.count(1):
        state_dir = root / str(line)
        state_dir.mkdir(parents=True)
        killed_at(1 << 30, leave, state_dir)
        killed = killed_at(line, lambda state_dir: Events(state_dir).look(), state_dir)
        Events(state_dir).look()
        deliver(state_dir)
        if not killed:
            return
        report(state_dir, line, _kept(state_dir))


def leave(state_dir: Path) -> None:
    """Leave alerts in the ring, and note each once that is done."""
    recorder = Recorder(state_dir, 1 << 16)
    for alert in ALERTS:
        assert recorder.keep_event(ALERT + to_json(alert))
        with (state_dir / "kept").open("a") as file:
            file.write(f"{alert.id}\n")


def _kept(state_dir: Path) -> list[str]:
    path = state_dir / "kept"
    return path.read_text().split() if path.exists() else []


def report(state_dir: Path, line: int, kept: list[str] | None = None) -> None:
    known = [alert.id for alert in ALERTS]
    ids = known if kept is None else kept
    ledgers = [Ledger(state_dir, name).lines() for name in ("one", "two")]
    lost = sum(alert_id not in lines for lines in ledgers for alert_id in ids)
    repeated = sum(len(lines) - len(set(lines)) for lines in ledgers)
    strange = sum(alert_id not in known for lines in ledgers for alert_id in lines)
    ended = len(list((state_dir / "alerts" / "sent").glob("*.json")))
    sys.stdout.write(f"REPORT {line} {lost} {repeated} {strange} {ended}\n")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        programs = {
            "deliveries": kill_deliveries,
            "writes": kill_writes,
            "rings": kill_rings,
            "readers": kill_readers,
        }
        programs[sys.argv[1]](Path(sys.argv[2]))
