"""Every setting of the service, once. `python -m app settings` shows them."""

from __future__ import annotations

import os
import re
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import getaddresses
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from app import queues
from app.services import addresses
from app.services.payments import currencies
from followthrough import settings as kit
from followthrough.settings import Row, SettingsError, port_problems, setting, without_password

HOME = Path(__file__).resolve().parent.parent
BROKERS = ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp", "memory")
DATABASES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")
BACKENDS = ("redis", "rediss", "socket", "cache+memory")
SHORTEST_SECRET = 16
DEFAULT_SECRET = "development-only"  # noqa: S105  production refuses it

__all__ = ["Settings", "SettingsError", "describe", "load"]


def _database_url(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return f"sqlite:///{values['state_dir']}/app.db"


def _broker_url(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return f"redis://127.0.0.1:{values['redis_port']}/0"


def _result_backend(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return str(values["broker_url"])


def _import_dir(values: Mapping[str, Any], _env: Mapping[str, str]) -> Path:
    return Path(values["state_dir"]) / "imports"


def _files_dir(values: Mapping[str, Any], _env: Mapping[str, str]) -> Path:
    return Path(values["state_dir"]) / "files"


def _service_url(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(values["host"], values["host"])  # noqa: S104
    return f"http://[{host}]:{values['port']}" if ":" in host else f"http://{host}:{values['port']}"


def _outgoing_allowed(values: Mapping[str, Any], _env: Mapping[str, str]) -> tuple[str, ...]:
    return () if values["env"] == "production" else addresses.LOCAL


def _smtp_url(values: Mapping[str, Any], _env: Mapping[str, str]) -> str:
    return f"smtp://127.0.0.1:{values['mail_port']}"


def _unfit(secret: str) -> str | None:
    # Here, so that programs which only need the settings stay small.
    from followthrough.alerts.notifiers.webhook import parse_secret  # noqa: PLC0415

    try:
        parse_secret(secret)
    except ValueError as error:
        return str(error)
    return None


def _unfit_address(address: str) -> str | None:
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415  as above

    try:
        validate_email(address, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        return str(error)
    return None


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return False
    return True


@dataclass(frozen=True)
class Settings:
    """The service's settings; the kit's own are in `telemetry`."""

    telemetry: kit.Settings
    env: typing.Literal["development", "testing", "production"] = setting(
        "APP_ENV", "development", "development, testing or production.", aliases=("FLASK_ENV",)
    )
    secret_key: str = setting("SECRET_KEY", DEFAULT_SECRET, "Key that signs sessions.", secret=True)
    debug: bool = setting("FLASK_DEBUG", False, "Flask's debug mode.")
    state_dir: Path = setting(
        "STATE_DIR", HOME / "var", "Directory for all files the service keeps."
    )
    host: str = setting("HOST", "127.0.0.1", "Address the API listens on.")
    port: int = setting("PORT", 5000, "Port of the API.")
    web_concurrency: int = setting("WEB_CONCURRENCY", 1, "Web worker processes.", minimum=1)
    web_threads: int = setting("WEB_THREADS", 8, "Threads in each web worker process.", minimum=1)
    worker_concurrency: int = setting(
        "CELERY_WORKER_CONCURRENCY", 2, "Pool processes of the Celery worker.", minimum=1
    )
    redis_port: int = setting("REDIS_PORT", 6379, "Port of the embedded Redis.")
    broker_url: str = setting(
        "CELERY_BROKER_URL", _broker_url, "Celery's broker; set, no embedded Redis is started."
    )
    result_backend: str = setting(
        "CELERY_RESULT_BACKEND", _result_backend, "Where task results live; default: the broker."
    )
    result_expires: int = setting(
        "CELERY_RESULT_EXPIRES", 86400, "Seconds a task's result and id are kept.", minimum=60
    )
    visibility_timeout: int = setting(
        "CELERY_VISIBILITY_TIMEOUT",
        7200,
        "Seconds after which Redis gives what a lost worker held to another one.",
        minimum=1,
    )
    task_always_eager: bool = setting(
        "CELERY_TASK_ALWAYS_EAGER", False, "Run tasks in the calling process, for debugging."
    )
    database_url: str = setting(
        "DATABASE_URL", _database_url, "SQLAlchemy address of the database."
    )
    mail_port: int = setting("MAIL_PORT", 1025, "Port of the development mail server.")
    smtp_url: str = setting(
        "SMTP_URL",
        _smtp_url,
        "Mail server (smtp://user:password@host:port, or smtps://); "
        "set, no development server is started.",
    )
    mail_from: str = setting("MAIL_FROM", "followthrough@example.com", "Sender of the mails.")
    max_content_length: int = setting(
        "MAX_CONTENT_LENGTH", 1024**2, "Largest request body in bytes.", minimum=1
    )
    outgoing_allowed: tuple[str, ...] = setting(
        "OUTGOING_ALLOWED",
        _outgoing_allowed,
        "Private networks and hosts that outgoing calls may reach; default: in production none.",
    )
    outgoing_ca_file: Path | None = setting(
        "OUTGOING_CA_FILE", None, "Certificates that outgoing calls trust; default: certifi's."
    )
    webhook_secret: str | None = setting(
        "WEBHOOK_SECRET",
        None,
        "Standard Webhooks secret (whsec_...) that signs webhooks; two with a space while renewed.",
        secret=True,
    )
    import_dir: Path = setting(
        "IMPORT_DIR", _import_dir, "Folder of the files that may be imported by their path."
    )
    import_max_bytes: int = setting(
        "IMPORT_MAX_BYTES", 200 * 1024**2, "Largest file in bytes that may be uploaded for import."
    )
    image_max_bytes: int = setting(
        "IMAGE_MAX_BYTES", 20 * 1024**2, "Largest image file in bytes that may be uploaded."
    )
    image_max_pixels: int = setting(
        "IMAGE_MAX_PIXELS", 50_000_000, "Most pixels of an image, width times height.", minimum=1
    )
    files_dir: Path = setting(
        "FILES_DIR", _files_dir, "Folder of the files the service makes: reports, thumbnails."
    )
    timezone: str = setting(
        "TIMEZONE",
        "UTC",
        "IANA time zone of the schedule and of what it reports, such as Europe/Berlin.",
        aliases=("CELERY_TIMEZONE",),
    )
    report_recipients: tuple[str, ...] = setting(
        "REPORT_RECIPIENTS", (), "Addresses that scheduled reports are mailed to; default: none."
    )
    reports_kept: int = setting("REPORTS_KEPT", 90, "Days that a report is kept.", minimum=1)
    service_url: str = setting(
        "SERVICE_URL", _service_url, "Address at which a worker reaches the API; by HOST and PORT."
    )
    source_max_bytes: int = setting(
        "SOURCE_MAX_BYTES", 16 * 1024**2, "Largest file or answer in bytes of a source.", minimum=1
    )
    payment_currency: str = setting(
        "PAYMENT_CURRENCY", "USD", "ISO 4217 code of a payment whose currency is not given."
    )
    payment_gateway: str = setting(
        "PAYMENT_GATEWAY",
        "sandbox",
        "Who takes payments: sandbox, http, an entry point, or module:factory of your own.",
    )
    payment_gateway_url: str | None = setting(
        "PAYMENT_GATEWAY_URL", None, "Address the http gateway posts charges to."
    )
    payment_gateway_token: str | None = setting(
        "PAYMENT_GATEWAY_TOKEN", None, "Bearer token for the http gateway.", secret=True
    )
    payment_methods: tuple[str, ...] = setting(
        "PAYMENT_METHODS", ("card",), "Methods the http gateway takes; the first is the default."
    )
    flower: bool = setting("FLOWER", False, "Run Flower too, beside the other services.")
    flower_port: int = setting("FLOWER_PORT", 5555, "Port of Flower.")
    flower_basic_auth: str | None = setting(
        "FLOWER_BASIC_AUTH",
        None,
        "user:password that Flower asks for; default: one it makes, in production none.",
        secret=True,
    )

    def problems(self) -> list[str]:
        """Contradictions between the settings, one sentence each."""
        return [
            *self._port_problems(),
            *self._production_problems(),
            *self._url_problems(),
            *self._payment_problems(),
            *self._outgoing_problems(),
            *self._mail_problems(),
            *self._schedule_problems(),
            *self._flower_problems(),
        ]

    def _port_problems(self) -> list[str]:
        return port_problems(
            PORT=self.port,
            REDIS_PORT=self.redis_port,
            MAIL_PORT=self.mail_port,
            FOLLOWTHROUGH_OTLP_PORT=self.telemetry.otlp_port,
            FOLLOWTHROUGH_CONSOLE_PORT=self.telemetry.console_port,
            OTEL_EXPORTER_PROMETHEUS_PORT=self.telemetry.metrics_port,
            **({"FLOWER_PORT": self.flower_port} if self.flower else {}),
        )

    def _production_problems(self) -> list[str]:
        if self.env != "production":
            return []
        problems = []
        if self.secret_key == DEFAULT_SECRET:
            problems.append("SECRET_KEY: production needs a secret of its own; set a random one")
        elif len(self.secret_key) < SHORTEST_SECRET:
            problems.append(f"SECRET_KEY: shorter than {SHORTEST_SECRET} characters; lengthen it")
        if self.debug:
            problems.append("FLASK_DEBUG: production refuses debug mode; unset it")
        if self.task_always_eager:
            problems.append("CELERY_TASK_ALWAYS_EAGER: for debugging only; unset it in production")
        if self.visibility_timeout <= queues.LONGEST_HELD:
            problems.append(
                "CELERY_VISIBILITY_TIMEOUT: a task that a worker still holds would be given to a "
                f"second one; set more than {queues.LONGEST_HELD}"
            )
        return problems

    def _url_problems(self) -> list[str]:
        urls = {
            "CELERY_BROKER_URL": (self.broker_url, BROKERS),
            "CELERY_RESULT_BACKEND": (self.result_backend, BACKENDS),
            "DATABASE_URL": (self.database_url, DATABASES),
            "SMTP_URL": (self.smtp_url, ("smtp", "smtps")),
            "SERVICE_URL": (self.service_url, addresses.SCHEMES),
        }
        return [
            f"{env}: {problem}"
            for env, (url, schemes) in urls.items()
            if (problem := _url_problem(url, schemes))
        ]

    def _mail_problems(self) -> list[str]:
        if _is_sender(self.mail_from):
            return []
        wanted = "set one such as shop@example.com, or Shop <shop@example.com>"
        return [f"MAIL_FROM: {self.mail_from!r} is no mail address; {wanted}"]

    def _outgoing_problems(self) -> list[str]:
        wrong = addresses.problems(self.outgoing_allowed)
        problems = [f"OUTGOING_ALLOWED: {each}" for each in wrong]
        if self.outgoing_ca_file and not self.outgoing_ca_file.is_file():
            problems.append(f"OUTGOING_CA_FILE: {self.outgoing_ca_file} is no file")
        if self.webhook_secret and (unfit := _unfit(self.webhook_secret)):
            problems.append(f"WEBHOOK_SECRET: {unfit}")
        return problems

    def _schedule_problems(self) -> list[str]:
        problems = [
            f"REPORT_RECIPIENTS: {address!r}: {wrong}"
            for address in self.report_recipients
            if (wrong := _unfit_address(address))
        ]
        if not _is_zone(self.timezone):
            problems.append(
                f"TIMEZONE: {self.timezone!r} is no IANA time zone; set one such as Europe/Berlin"
            )
        return problems

    def _flower_problems(self) -> list[str]:
        given = self.flower_basic_auth
        if given and not all(re.fullmatch(r"[^:]+:.+", each) for each in given.split(",")):
            return ["FLOWER_BASIC_AUTH: is not user:password; set both, with a colon between"]
        if self.flower and self.env == "production" and not given:
            return ["FLOWER_BASIC_AUTH: Flower needs it in production; set user:password"]
        return []

    def _payment_problems(self) -> list[str]:
        problems = []
        if self.payment_currency not in currencies.DIGITS:
            problems.append(f"PAYMENT_CURRENCY: {self.payment_currency!r} is no ISO 4217 code")
        if self.payment_gateway == "http" and not self.payment_gateway_url:
            problems.append("PAYMENT_GATEWAY_URL: not set, but PAYMENT_GATEWAY is http; set it")
        if not self.payment_methods:
            problems.append("PAYMENT_METHODS: names no method; name at least one")
        url = self.payment_gateway_url
        if url and urlsplit(url).scheme not in ("http", "https"):
            problems.append("PAYMENT_GATEWAY_URL: does not start with http:// or https://")
        return problems


def _is_sender(text: str) -> bool:
    # The name before it may be missing; a domain is written in ASCII, as mail servers read it.
    found = [address for _, address in getaddresses([text])]
    if len(found) != 1 or not text.isprintable():
        return False
    return re.fullmatch(r"[^@\s<>,;]+@[A-Za-z0-9.-]+", found[0]) is not None


def _url_problem(url: str, schemes: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(url)
        scheme, _ = parts.scheme, parts.port
    except ValueError:
        return "is not an address: its host or port can't be read"
    if scheme not in schemes:
        wanted = ", ".join(f"{scheme}://" for scheme in schemes)
        return f"{without_password(url)!r} does not start with one of {wanted}"
    return None


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read every setting; raises SettingsError with all that is wrong, the kit's included."""
    env = dict(os.environ if environ is None else environ)
    if not env.get("APP_ENV") and env.get("FLASK_ENV"):
        warnings.warn("FLASK_ENV is an old name; set APP_ENV instead", stacklevel=2)
    values, problems = kit.read(Settings, env)
    if not env.get("FOLLOWTHROUGH_STATE_DIR"):
        env["FOLLOWTHROUGH_STATE_DIR"] = str(values["state_dir"] / "telemetry")
    # Whoever can reach the API could otherwise choose its traces' ids and have all of them kept.
    if values["env"] == "production" and not env.get("FOLLOWTHROUGH_TRUST"):
        env["FOLLOWTHROUGH_TRUST"] = "none"
    telemetry, wrong = kit.read(kit.Settings, env)
    settings = Settings(**values, telemetry=kit.Settings(**telemetry))
    contradictions = [*settings.telemetry.problems(), *settings.problems()]
    if problems := [*problems, *wrong, *contradictions]:
        raise SettingsError(list(dict.fromkeys(problems)))
    return settings


def describe(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Row]:
    """All settings as table rows: the service's, then the kit's."""
    return [*kit.describe(settings, environ), *kit.describe(settings.telemetry, environ)]
