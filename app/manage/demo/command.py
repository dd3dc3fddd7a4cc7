"""The command: whether a service answers, the plan against it, and where to look afterwards."""

from __future__ import annotations

import sys
import uuid
from urllib.parse import urlsplit

from app.manage.demo import samples
from app.manage.demo.display import watching
from app.manage.demo.driver import Driver, Job
from app.manage.demo.plan import PLAN
from app.manage.demo.receiver import receiving
from app.manage.demo.transport import Request, Transport, http
from app.manage.output import table, write
from app.manage.services import shown, url
from app.manage.start import refuse
from app.settings import Settings

LIMIT = 75.0  # seconds
STOPPED = 130  # exit code, as of a program that Ctrl-C ended


def run(settings: Settings, service: str | None) -> int:
    """Drive the service at this address, by default the one of these settings; the exit code."""
    address = (service or url("http", settings.host, settings.port)).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https"):
        return refuse([f"--url: {address!r} does not start with http:// or https://"])
    transport = http(address)
    if not _answers(transport):
        return refuse([f"no service answers at {address}; start one with: make run"])
    try:
        return _drive(settings, address, transport)
    except KeyboardInterrupt:
        write(sys.stdout, "stopped; what was sent goes on in the service\n")
        return STOPPED


def _answers(transport: Transport) -> bool:
    try:
        body = transport(Request("GET", "/api/health")).body
    except (OSError, ValueError):
        return False
    # Something else may listen there.
    return isinstance(body, dict) and "status" in body


def _drive(settings: Settings, address: str, transport: Transport) -> int:
    token = uuid.uuid4().hex[:8]
    files = {"orders.csv": samples.csv(token), "gradient.png": samples.png()}
    with receiving() as hook, watching() as watch:
        known = {"service": address, "hook": hook, "run": token, "rows": samples.ROWS}
        driver = Driver(PLAN, transport, known, files)
        well = driver.run(LIMIT, watch)
    write(sys.stdout, _summary(settings, address, driver.jobs))
    return 0 if well else 1


def _summary(settings: Settings, address: str, jobs: list[Job]) -> str:
    wrong = [f"  {job.step.name}: {job.says}\n" for job in jobs if not job.expected]
    said = f"\n{len(jobs) - len(wrong)} of {len(jobs)} went as expected.\n"
    named = f"\nNot as expected:\n{''.join(wrong)}" if wrong else ""
    return f"{said}{_traces(settings, jobs)}{_places(settings, address, jobs)}{named}"


def _traces(settings: Settings, jobs: list[Job]) -> str:
    kit = settings.telemetry
    # A Collector sends traces to pages of its own.
    pages = f"{url('http', kit.host, kit.console_port)}/trace/" if kit.embedded else ""
    rows = [(job.step.name, f"{pages}{job.trace_id}") for job in jobs if job.trace_id]
    return f"\nTraces:\n{table(rows, '  ')}" if rows else ""


def _places(settings: Settings, address: str, jobs: list[Job]) -> str:
    reports = [job.says for job in jobs if job.step.key == "report" and job.expected]
    rows = [
        ("mails", shown(settings.state_dir / "mail")),
        *(("report", shown(settings.files_dir / name)) for name in reports),
        ("API", f"{address}/docs"),
    ]
    return f"\nLook at:\n{table(rows, '  ')}"
