"""`python -m app up | down | restart | status | settings | schedule | demo`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from app import settings as configuration
from app.manage import services
from app.manage.background import detach
from app.manage.output import show_table, table, write
from app.manage.processes import memory, send
from app.manage.records import Record, RunDirectory
from app.manage.services import Service, shown
from app.manage.start import Start, place, refuse, stop_leftovers
from app.manage.unit import FAILED, RUNNING, STOPPED
from app.settings import Settings, SettingsError

POLL = 0.05  # seconds
STOP_DEADLINE = 15.0  # seconds; a manager needs at most 10
RESTART_DEADLINE = 60.0  # seconds
NOT_RUNNING = 3  # exit code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    args = _parser().parse_args(argv)
    try:
        settings = _settings()
        return COMMANDS[args.command](settings, args)
    except SettingsError as error:
        return refuse(error.problems)
    except LookupError as error:
        return refuse([str(error.args[0])])


def _settings() -> Settings:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            return configuration.load()
        finally:
            sys.stderr.writelines(f"{warning.message}\n" for warning in caught)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m app", description="Run the service.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything, in this terminal")
    up.add_argument("-d", "--detach", action="store_true", help="in the background")
    commands.add_parser("down", help="stop everything, also what runs in the background")
    restart = commands.add_parser("restart", help="stop and start services, all by default")
    restart.add_argument(
        "service", nargs="*", help="redis, mail, agent, web, worker, beat or flower"
    )
    commands.add_parser("status", help="show what runs; exit code 3 unless all does")
    commands.add_parser("settings", help="show every setting and where its value comes from")
    commands.add_parser("schedule", help="show what is scheduled, when it ran and is due")
    demo = commands.add_parser("demo", help="try every route of the service that runs")
    demo.add_argument("--url", help="address of the service; default: by HOST and PORT")
    return parser


def _up(settings: Settings, args: argparse.Namespace) -> int:
    _check_notifiers(settings)
    start = Start(settings, services.build(settings), follow=not args.detach)
    return detach(start) if args.detach else start()


def _check_notifiers(settings: Settings) -> None:
    if settings.telemetry.notifiers == ("log",):
        return
    # It loads what the manager itself has no use for, so only where somebody chose.
    from followthrough.alerts.build import problems  # noqa: PLC0415

    if wrong := problems(settings.telemetry):
        raise SettingsError(wrong)


def _down(settings: Settings, _args: argparse.Namespace) -> int:
    run = place(settings).run
    manager, running = run.manager(), run.services()
    if manager is None and not running:
        return _say("not running")
    if manager is not None:
        _end(manager)
    stop_leftovers(place(settings))
    left = [record.name for record in running if record.alive]
    stopped = [record.name for record in running if record.name not in left]
    _say(f"stopped {', '.join(stopped) or 'the manager'}")
    return 1 if left else 0


def _end(manager: Record) -> None:
    send(manager.pid, signal.SIGTERM)
    if not _within(STOP_DEADLINE, lambda: not manager.alive):
        sys.stderr.write(f"the manager (pid {manager.pid}) does not answer; it is killed\n")
        send(manager.pid, signal.SIGKILL)
        _within(1.0, lambda: not manager.alive)


def _services(settings: Settings, run: RunDirectory) -> list[Service]:
    """Those that stay; Flower too where it runs, as FLOWER=1 may have been told to `up` alone."""
    has_flower = settings.flower or run.read("flower") is not None
    built = services.build(replace(settings, flower=has_flower))
    return [service for service in built if not service.once]


def _restart(settings: Settings, args: argparse.Namespace) -> int:
    run = place(settings).run
    known = [service.name for service in _services(settings, run)]
    if unknown := sorted(set(args.service) - set(known)):
        return refuse(f"no service {name}; there are {', '.join(known)}" for name in unknown)
    manager = run.manager()
    if manager is None:
        _say("not running; start it with: python -m app up")
        return NOT_RUNNING
    return _ask_restart(run, manager, args.service or known)


def _ask_restart(run: RunDirectory, manager: Record, wanted: list[str]) -> int:
    before = {name: record.pid for name in wanted if (record := run.read(name))}
    run.request_restart(wanted)
    send(manager.pid, signal.SIGUSR1)

    def missing() -> list[str]:
        return [name for name in wanted if not _renewed(run.read(name), before.get(name))]

    def decided() -> bool:
        given_up = any(record.state == FAILED for name in missing() if (record := run.read(name)))
        return not missing() or given_up or not manager.alive

    _within(RESTART_DEADLINE, decided)
    left = missing()
    _say(f"restarted {', '.join(name for name in wanted if name not in left) or 'nothing'}")
    if left:
        sys.stderr.write(
            f"not running: {', '.join(left)}; see {shown(run.path.with_name('log'))}\n"
        )
    return 1 if left else 0


def _renewed(record: Record | None, before: int | None) -> bool:
    return record is not None and record.state == RUNNING and record.pid != before


def _status(settings: Settings, _args: argparse.Namespace) -> int:
    run, used = place(settings).run, memory()
    manager = run.manager()
    wanted = _services(settings, run)
    rows = [_row(service, run.read(service.name), manager, used) for service in wanted]
    head = [("SERVICE", "STATE", "PID", "UPTIME", "MEMORY", "ADDRESS")]
    write(sys.stdout, table([*head, *rows]))
    if manager is None and run.services():
        _say("their manager was killed; python -m app down stops them, up starts anew")
    return 0 if manager and all(row[1] == RUNNING for row in rows) else NOT_RUNNING


def _row(
    service: Service, record: Record | None, manager: Record | None, used: dict[int, int]
) -> tuple[str, ...]:
    address = service.addresses[0].url if service.addresses else ""
    if record is None or not record.alive:
        # Without a process, what the manager is about to do is the state.
        state = record.state if record and manager and not record.pid else STOPPED
        return (service.name, state, "", "", "", address)
    uptime = _uptime(time.time() - record.since)
    size = f"{used.get(record.pid, 0) / 1024**2:.0f} MiB"
    return (service.name, record.state, str(record.pid), uptime, size, address)


def _uptime(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _show_settings(settings: Settings, _args: argparse.Namespace) -> int:
    rows = [(row.env, row.value, row.source, row.doc) for row in configuration.describe(settings)]
    write(sys.stdout, table([("SETTING", "VALUE", "SOURCE", "MEANING"), *rows]))
    return 0


def _schedule(settings: Settings, _args: argparse.Namespace) -> int:
    # It loads Celery, which no other command has a use for.
    from app import timetable  # noqa: PLC0415

    show_table(sys.stdout, [timetable.HEAD, *timetable.rows(settings, datetime.now(UTC))])
    return 0


def _demo(settings: Settings, args: argparse.Namespace) -> int:
    from app.manage.demo import command  # noqa: PLC0415  it loads an HTTP client

    return command.run(settings, args.url)


def _say(text: str) -> int:
    write(sys.stdout, f"{text}\n")
    return 0


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "restart": _restart,
    "status": _status,
    "settings": _show_settings,
    "schedule": _schedule,
    "demo": _demo,
}
