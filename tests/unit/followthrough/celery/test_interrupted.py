"""A soft time limit that strikes at any call of a hook leaves one span, told once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery
from celery.app.trace import build_tracer
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import followthrough
from followthrough.celery import execute, interrupted, publish
from followthrough.recorder.places import SPANS, folder
from followthrough.recorder.processor import RecorderProcessor
from followthrough.recorder.recorder import Recorder
from followthrough.recorder.ring import account_of
from followthrough.testing import Captured

HOOKS = {
    hook.__code__
    for hook in (
        execute.on_prerun,
        execute.on_postrun,
        publish.on_publishing,
        publish.on_published,
    )
}
MESSAGE = {
    "id": "id-1",
    "task": "run.plain",
    "retries": 0,
    "delivery_info": {"routing_key": "fast"},
    "traceparent": f"00-{7:032x}-{8:016x}-01",
    "followthrough": {"sent": 5.0},
}


@pytest.fixture
def app(told: Captured, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    app = Celery("run", broker="memory://", backend="cache+memory://", set_as_current=True)
    followthrough.instrument_celery()
    monkeypatch.setattr(interrupted, "again", lambda: None)

    @app.task(shared=False, name="run.plain")
    def plain() -> None:
        pass

    yield app
    followthrough.uninstrument_celery()
    app.close()


@pytest.fixture
def kept(
    tmp_path: Path, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], int]]:
    """How many spans were put into the ring so far, light ones."""
    recorder = Recorder(tmp_path, 1 << 20)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RecorderProcessor(recorder))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)

    def count() -> int:
        with next(folder(tmp_path).glob(f"*{SPANS}")).open("rb") as ring:
            return account_of(ring.fileno()).produced

    yield count
    recorder.close()


def cut_off(at: int, act: Callable[[], Any]) -> bool:
    """Whether the so many-th call within a hook was there to be cut off.

    Python looks for signals as a function of its own begins, and as one in C has returned. In
    between a context's change and the name for it nothing can be done, nor before a hook's first
    step.
    """
    left = [at]

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event not in ("call", "c_return") or getattr(argument, "__name__", "") == "set":
            return
        above = frame.f_back
        while above is not None and above.f_code not in HOOKS:
            above = above.f_back
        is_within = above is not None or (event == "c_return" and frame.f_code in HOOKS)
        if is_within and "/followthrough/" in frame.f_code.co_filename:
            left[0] -= 1
            if left[0] == 0:
                raise SoftTimeLimitExceeded

    sys.setprofile(profile)
    try:
        act()
    finally:
        sys.setprofile(None)
    return left[0] <= 0


@pytest.mark.parametrize("does", ["run", "publish"])
def test_cut_off_at_any_call_a_hook_tells_its_span_once_and_leaves_nothing(
    told: Captured, app: Celery, kept: Callable[[], int], does: str
) -> None:
    task = app.tasks["run.plain"]
    tracer = build_tracer("run.plain", task, app=app)
    act: Callable[[], Any] = task.delay
    if does == "run":
        act = lambda: tracer("id-1", (), {}, MESSAGE)  # noqa: E731
    act()
    call, was_cut = 1, True
    while was_cut:
        before, lines = kept(), len(told.events("task.succeeded"))
        was_cut = cut_off(call, act)
        assert kept() == before + 1, call
        assert len(told.events("task.succeeded")) - lines in ((1, 2) if does == "run" else (0,))
        assert not trace.get_current_span().get_span_context().is_valid, call
        assert execute._running == {}, call
        call += 1
    assert call > 80
