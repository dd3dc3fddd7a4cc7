"""What runs in the agent, and how it starts and stops."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from .. import guard, logs, metrics, slots
from ..alerts import keep
from ..alerts.build import build
from ..alerts.dispatcher import Dispatcher
from ..recorder import left
from ..recorder.places import folder, slots_of
from ..settings import Settings, SettingsError
from . import idle
from .events import Events
from .finisher import Finisher
from .lock import Lock, Taken
from .looks import AGAIN_SECONDS, Look, Looks
from .metrics import Metrics
from .restorer import Restorer
from .sender import Sender, to_logs, to_traces
from .server import Port, PortError, Server
from .shipper import DRAIN_SECONDS, LOGS, TRACES, Shipper

if TYPE_CHECKING:
    from ..console.store import Store

log = structlog.get_logger("followthrough.agent")

SERVICE = "followthrough-agent"
WRONG = 2
PRUNE_SECONDS = 60.0
STOP_SECONDS = 1.0


def run(settings: Settings, *, until_idle: bool = False) -> int:
    """Run the agent of `settings.state_dir` until SIGTERM or SIGINT; the exit code.

    `until_idle` is for one that a program has started: it ends when no process of the host is left
    to serve, and goes on without a port that is taken. 2 with one line on stderr when it can't
    start: another agent runs, a port is taken, the state directory can't be written, a setting is
    wrong.
    """
    logs.configure_logs(settings.log_format, settings.log_level, SERVICE)
    try:
        with _lock(settings.state_dir) as lock:
            return _serve(settings, lock, until_idle=until_idle)
    except (Taken, PortError, SettingsError, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"followthrough agent: {error}\n")
        return WRONG


@contextlib.contextmanager
def _lock(state_dir: Path) -> Iterator[Lock]:
    state_dir.mkdir(parents=True, exist_ok=True)
    lock = Lock(state_dir / "agent.lock")
    try:
        yield lock
    finally:
        lock.release()


def _serve(settings: Settings, lock: Lock, *, until_idle: bool) -> int:
    _tell_in(settings.state_dir)
    stop = threading.Event()
    dispatcher = Dispatcher(settings.state_dir, build(settings))
    with contextlib.ExitStack() as stack:
        ports, sender = [_metrics_port(settings)], None
        if settings.embedded:
            own, sender = stack.enter_context(_embedded(settings, stop))
            ports += own
        server = Server(ports, tolerant=until_idle)
        for shipper in _shippers(settings, sender, lock):
            drain = DRAIN_SECONDS + STOP_SECONDS
            stack.enter_context(_running("shipper", shipper.run, stop, drain))
        stack.enter_context(_running("alerts", dispatcher.run, stop))
        events = Events(settings.state_dir, lock.is_in_place)
        # Once more when all else has stopped.
        stack.callback(events.look)
        restorer = Restorer(settings.state_dir, folder(settings.state_dir), settings.poison_after)
        stack.callback(restorer.wait, STOP_SECONDS)
        finisher = Finisher(settings.state_dir, settings.ring_bytes, restorer.claim)
        looks = [
            Look("events", events.look),
            Look("unfinished", finisher.look),
            Look("held", restorer.look),
            Look("guard", idle.Guard(lock, server.stop).look, idle.EVERY),
        ]
        if until_idle:
            looks.append(Look("idle", idle.Watch(settings, server.stop).look, idle.EVERY))
        stack.enter_context(_running("looks", Looks(*looks).run, stop))
        _end_on_signals(server.stop)
        # Programs that look for an agent see that it did not end as soon as it began.
        (settings.state_dir / "agent.ready").touch()
        log.info("agent.ready", **{port.purpose: port.url for port in server.ports})
        server.run()
    log.info("agent.stopped")
    return 0


def _tell_in(state_dir: Path) -> None:
    """Count and alert for processes that are gone, in a slot that is the agent's from the start."""
    slots.held.on_taken = left.take_over_slot
    slots.held.number(slots_of(state_dir))
    guard.count = metrics.count_error
    metrics.use(state_dir)
    keep.use(state_dir)


def _end_on_signals(end: Callable[[], None]) -> None:
    ends = (signal.SIGTERM, signal.SIGINT)
    for number in ends:
        signal.signal(number, lambda *_: end())
    # A program's thread that blocks them may have started this one.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ends)


def _shippers(settings: Settings, own: Sender | None, lock: Lock) -> list[Shipper]:
    delay = settings.bsp_schedule_delay / 1000
    senders = {TRACES: own or to_traces(settings), LOGS: to_logs(settings)}
    return [
        Shipper(settings.state_dir, each, delay, lock.is_in_place, signal)
        for signal, each in senders.items()
    ]


def _metrics_port(settings: Settings) -> Port:
    host, number = settings.metrics_host, settings.metrics_port
    name = "OTEL_EXPORTER_PROMETHEUS_PORT"
    return Port(host, number, "metrics", name, Metrics(settings.state_dir))


@contextlib.contextmanager
def _embedded(settings: Settings, stop: threading.Event) -> Iterator[tuple[list[Port], Sender]]:
    # Beside a collector the agent needs neither Flask nor protobuf.
    from ..console.pages import create_console  # noqa: PLC0415
    from ..console.store import Store  # noqa: PLC0415
    from .receiver import Own, Receiver  # noqa: PLC0415

    store = Store(
        settings.state_dir / "traces.db",
        max_age=settings.traces_max_age,
        max_bytes=settings.traces_max_bytes,
    )
    host, console = settings.host, create_console(store, settings.otlp_port)
    receiver = Receiver(store)
    ports = [
        Port(host, settings.otlp_port, "otlp", "FOLLOWTHROUGH_OTLP_PORT", receiver),
        Port(host, settings.console_port, "traces", "FOLLOWTHROUGH_CONSOLE_PORT", console),
    ]
    with contextlib.closing(store), _running("pruning", lambda s: _prune(store, s), stop):
        yield ports, Own(receiver)


def _prune(store: Store, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            store.prune()
        except sqlite3.Error as error:
            log.warning("traces.not_pruned", error=str(error))
        stop.wait(PRUNE_SECONDS)


@contextlib.contextmanager
def _running(
    name: str,
    target: Callable[[threading.Event], object],
    stop: threading.Event,
    seconds: float = STOP_SECONDS,
) -> Iterator[None]:
    thread = threading.Thread(target=_kept_up, args=(name, target, stop), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(seconds)


def _kept_up(name: str, target: Callable[[threading.Event], object], stop: threading.Event) -> None:
    """Run a part of the agent, again after an error: none of them ends for good."""
    while not stop.is_set():
        try:
            target(stop)
        except Exception as error:
            log.exception("agent.part_failed", part=name, error_type=type(error).__name__)
            stop.wait(AGAIN_SECONDS)
        else:
            return
