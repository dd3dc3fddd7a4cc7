"""A real worker that knows the kit only, and what its log, metrics, alerts and spans say."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from followthrough.metrics.exposition import expose
from tests.support import Program, free_port, python, running, wait_for
from tests.support.collector import Collector

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
LOSING = 30.0


class Worker:
    """A worker with its broker, its collector and its state directory."""

    def __init__(
        self, program: Program, url: str, state: Path, spans: Collector | None = None
    ) -> None:
        self.program = program
        self.client = Celery("client", broker=url, backend=url)
        self.client.conf.broker_connection_retry_on_startup = True
        self.state = state
        self.spans = spans
        self.url = url

    def send(self, name: str, *args: Any, **options: Any) -> str:
        return str(self.client.send_task(name, args, headers=HEADERS, **options).id)

    def lines(self) -> list[dict[str, Any]]:
        texts = self.program.output().splitlines()
        return [json.loads(text) for text in texts if text.startswith("{") and text.endswith("}")]

    def ends(self, task_id: str) -> list[dict[str, Any]]:
        return [
            line for line in self.lines() if line.get("task_id") == task_id and "outcome" in line
        ]

    def end(self, task_id: str, count: int = 1) -> dict[str, Any]:
        """The last of exactly `count` terminal lines, once a later task has ended too."""
        wait_for(lambda: len(self.ends(task_id)) >= count, f"end of {task_id}", LOSING)
        after = self.send("kit.add", 1, 1)
        wait_for(lambda: self.ends(after), "end of a later task", LOSING)
        assert len(self.ends(task_id)) == count
        return self.ends(task_id)[-1]

    def counted(self, task: str) -> dict[tuple[str, str], float]:
        found = {}
        for family in text_string_to_metric_families(expose(self.state).decode()):
            for sample in family.samples:
                if sample.name == "celery_task_results_total" and sample.labels["task"] == task:
                    key = sample.labels["outcome"], sample.labels["error_type"]
                    found[key] = sample.value
        return {key: value for key, value in found.items() if value}

    def alerts(self, task_id: str) -> list[Any]:
        """Alerts that wait or, once the agent is up, were delivered."""
        files = (self.state / "alerts").rglob("msg_*.json")
        return [a for a in map(_json, files) if a["task_id"] == task_id]

    def spans_of(self, task_id: str) -> list[Any]:
        assert self.spans is not None
        return [
            span
            for span in list(self.spans.spans)
            if any(a.value.string_value == task_id for a in span.attributes)
        ]


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


@contextlib.contextmanager
def start(
    folder: Path, url: str, endpoint: str, *options: str, **env: str
) -> Iterator[tuple[Program, Path]]:
    state = folder / "state"
    argv = python("-m", "celery", "-A", "tests.support.kit_service:celery", "worker")
    argv += ["-c", "2", "--without-gossip", "--without-mingle", "-l", "info", *options]
    settings = {
        "KIT_BROKER": url,
        "FOLLOWTHROUGH_STATE_DIR": str(state),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "FOLLOWTHROUGH_LOG_FORMAT": "json",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
        **env,
    }
    with running(argv, folder / "worker.log", settings) as program:
        wait_for(lambda: "ready." in program.output(), "worker is ready", LOSING)
        yield program, state
