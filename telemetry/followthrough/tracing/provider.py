"""The tracer provider of the process and its end, which never keeps the host waiting."""

from __future__ import annotations

import atexit
import functools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from .. import recorder

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

    from ..outcome import Outcome
    from ..recorder.launch import Launcher
    from ..recorder.logs import LogRecorder
    from ..recorder.recorder import Recorder
    from ..settings import Settings

EXIT_SECONDS = 1.5

logger = logging.getLogger(__name__)


class _Current:
    processor: Any = None
    rings: Path | None = None
    recorder: Recorder | None = None
    launcher: Launcher | None = None


def configure(service: str, settings: Settings) -> None:
    """Set the global tracer provider, unless tracing is off or the host has set one."""
    # Read by the first instrumentor; without it attributes have the names of before 2023.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    if settings.sdk_disabled or not isinstance(
        trace.get_tracer_provider(), trace.ProxyTracerProvider
    ):
        return
    from .sdk import Provider  # noqa: PLC0415  nothing of the SDK where tracing is off

    provider = Provider(service)
    for name in dict.fromkeys(settings.traces_exporters):
        if processor := _processor(name, settings):
            provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)


def _processor(exporter: str, settings: Settings) -> SpanProcessor | None:
    from opentelemetry.sdk.trace import export  # noqa: PLC0415

    if exporter == "none":
        return None
    if exporter == "console":
        return export.SimpleSpanProcessor(export.ConsoleSpanExporter())
    told = "spans are sent by the SDK's batch processor"
    if settings.span_processor == "recorder" and _can_record(settings, told):
        return _recorder(settings)
    return _batch(settings)


def _can_record(settings: Settings, otherwise: str) -> bool:
    """Whether processes can share files here; if not, says so."""
    reason = recorder.obstacle(settings.state_dir)
    if reason:
        logger.warning("%s: %s", otherwise, reason)
    return reason is None


def _recorder(settings: Settings) -> SpanProcessor:
    from ..recorder.places import folder  # noqa: PLC0415
    from ..recorder.processor import RecorderProcessor  # noqa: PLC0415

    # Not at the first span: a child that is forked while another thread imports waits for ever.
    from . import light_tracer  # noqa: F401, PLC0415

    _Current.rings = folder(settings.state_dir)
    return RecorderProcessor(_shared(settings))


def _shared(settings: Settings) -> Recorder:
    """The recorder of this process, for all that it records."""
    from ..recorder.launch import Launcher  # noqa: PLC0415
    from ..recorder.recorder import Recorder  # noqa: PLC0415

    if _Current.recorder is None:
        launcher = _Current.launcher = Launcher(settings) if settings.start_agent else None
        _Current.recorder = Recorder(settings.state_dir, settings.ring_bytes, launcher)
    return _Current.recorder


def log_recorder(service: str, settings: Settings) -> LogRecorder | None:
    """What records log lines for the agent to send, of the resource that the spans have.

    What others emit by OpenTelemetry's API goes the same way. None where a setting doesn't want
    it, or processes can't share files, which is logged.
    """
    if settings.sdk_disabled or "otlp" not in settings.logs_exporters:
        return None
    if _Current.recorder is None and not _can_record(settings, "log records are not sent"):
        return None
    from ..recorder.logs import LogRecorder  # noqa: PLC0415
    from .sdk import provide_logger, resource  # noqa: PLC0415

    own = functools.cache(lambda: resource(service))

    def current() -> Resource:
        return getattr(trace.get_tracer_provider(), "resource", None) or own()

    provide_logger(_shared(settings), current())
    return LogRecorder(_shared(settings), current)


def _batch(settings: Settings) -> SpanProcessor:
    from .exporter import Exporter, Processor  # noqa: PLC0415

    processor = Processor(
        Exporter(settings.traces_endpoint), schedule_delay_millis=settings.bsp_schedule_delay
    )
    _Current.processor = processor
    atexit.register(finish, EXIT_SECONDS)
    return processor


def is_watched(seconds: float) -> None:
    """Say that the parent process notes why this one was lost, at most so many seconds later."""
    if _Current.recorder is not None:
        from ..recorder.inflight import Watcher  # noqa: PLC0415

        _Current.recorder.watcher = Watcher(os.getppid(), seconds)


def keep_event(payload: bytes) -> bool:
    """Keep what must not be lost in this process's event ring; False where that can't be."""
    return _Current.recorder is not None and _Current.recorder.keep_event(payload)


def ends_what_is_left() -> bool:
    """Whether somebody ends the spans that this process leaves open as it dies."""
    return _Current.rings is not None


def note_cause(pid: int, outcome: Outcome) -> float | None:
    """Say how what a process runs ends, since it is lost: its spans under way end with that.

    Gives when it ended, in seconds since 1970, as its spans will say; None where nobody ends them.
    """
    if _Current.rings is None:
        return None
    from ..recorder import inflight  # noqa: PLC0415

    cause = inflight.Cause(outcome.error_type, outcome.message, outcome.kind)
    return inflight.note_cause(_Current.rings, pid, cause) / 1e9


def need_agent() -> None:
    """Start an agent if there is none and one may be started: something is left to it."""
    if _Current.launcher is not None:
        _Current.launcher.look()


def under_way(pid: int, task_id: str) -> str:
    """The traceparent of the span of a task that a process runs or ran as it was lost, or empty.

    In whatever process, if the pid is 0.
    """
    if _Current.rings is None:
        return ""
    from ..recorder import left, record  # noqa: PLC0415

    return record.traceparent(left.find(_Current.rings, pid, task_id.encode()))


def finish(seconds: float) -> None:
    """Send what is queued, waiting at most `seconds`; spans that end later are dropped."""
    end = getattr(_Current.processor, "finish", None)
    if end is not None:
        end(seconds)
