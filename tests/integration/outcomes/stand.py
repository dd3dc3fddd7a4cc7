"""What the matrix runs on: one Redis, one sink, one agent, a publisher, and workers as needed."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.request
from collections.abc import Iterator
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, Self

import redis
from celery import Celery
from prometheus_client.parser import text_string_to_metric_families

from followthrough.recorder import launch
from tests.integration.outcomes.seen import Seen
from tests.support import Program, free_port, python, redis_server, running, wait_for
from tests.support.collector import Collector, collector

PATH = "tests.integration.outcomes"
START = 60.0  # seconds that a program may take to start while others do
# So many start at a time; more would only make each slow.
STARTING = threading.Semaphore(3)


class Worker:
    """A worker with a queue of its own; `program` is the process that was started last."""

    def __init__(self, stand: Stand, name: str, broker: str, program: Program) -> None:
        self.stand = stand
        self.name = name
        self.broker = broker
        self.program = program
        self.system = "rabbitmq" if broker.startswith("amqp") else "redis"
        self.celery = Celery("test", broker=broker, backend=stand.broker, set_as_current=False)

    def send(self, name: str, *args: Any, **options: Any) -> str:
        """Publish to this worker; the id."""
        broker = "" if self.broker == self.stand.broker else self.broker
        return str(self.stand.call("send", name, *args, broker=broker, **options))

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.broker)

    def revoke(self, task_id: str, **options: Any) -> None:
        """Revoke a task, once the worker hears."""
        revoke = self.celery.control.revoke
        heard = lambda: revoke(task_id, reply=True, limit=1, timeout=1, **options)  # noqa: E731
        wait_for(heard, "the worker hears", START)

    def reserved(self, task_id: str) -> None:
        """Wait until the worker holds the task and no process of it runs it."""
        inspect = self.celery.control.inspect(timeout=0.5)
        wait_for(lambda: task_id in json.dumps(inspect.reserved() or {}), f"{task_id} held", START)


class Host:
    """A machine with one sink and one agent; `finish` stops all and gives what was seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gates = folder / "gates"
        self.metrics_port = free_port()
        self.stack = contextlib.ExitStack()
        self.programs: list[Program] = []
        # Those that had ended by themselves when everything was stopped.
        self.ended: list[Program] = []
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        self.gates.mkdir()
        self.sink: Collector = self.stack.enter_context(collector())
        self.agent = Program([*launch.command(), "agent"], self.folder / "agent.log", self.env())
        self.stack.callback(self.agent.stop)
        wait_for(lambda: "agent.ready" in self.agent.output(), "the agent is ready", START)
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs:
            program.popen.terminate()
        for program in self.programs:
            program.stop()
        self.stack.close()

    def env(self, name: str = "agent", **more: str) -> dict[str, str]:
        return {
            "KIT_NAME": name,
            "KIT_GATES": str(self.gates),
            "FOLLOWTHROUGH_STATE_DIR": str(self.folder / "state"),
            "FOLLOWTHROUGH_LOG_FORMAT": "json",
            "FOLLOWTHROUGH_START_AGENT": "false",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.endpoint,
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(self.metrics_port),
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **more,
        }

    def start(self, argv: list[str], name: str, **env: str) -> Program:
        program = Program(argv, self.folder / f"{name}.log", self.env(name, **env))
        with self.lock:
            self.programs.append(program)
        return program

    def look(self) -> Seen:
        """What there is to see now: the sink, the logs and /metrics."""
        return Seen(list(self.sink.spans), dict(self.sink.origin), self._lines(), self._samples())

    def finish(self) -> Seen:
        """Stop everyone; what was seen in all."""
        self.ended = [p for p in self.programs if p.popen.poll() is not None]
        for program in self.programs:
            program.popen.terminate()
        for program in self.programs:
            program.stop()
        samples = self._samples()
        # It sends what is left before it ends.
        assert self.agent.stop() == 0, self.agent.output()
        return Seen(list(self.sink.spans), dict(self.sink.origin), self._lines(), samples)

    def _lines(self) -> list[dict[str, Any]]:
        texts = [
            text
            for log in self.folder.glob("*.log")
            for text in log.read_text("utf-8", "replace").splitlines()
        ]
        return [json.loads(t) for t in texts if t.startswith('{"') and t.endswith("}")]

    def _samples(self) -> list[Any]:
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        return [s for family in text_string_to_metric_families(text) for s in family.samples]


class Stand(Host):
    """A host with a Redis, a publisher, and workers as they are asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.databases = iter(range(1, 16))
        self.calling = threading.Lock()

    def __enter__(self) -> Self:
        _, self.broker = self.stack.enter_context(redis_server(self.folder))
        super().__enter__()
        self.client = self._client()
        return self

    def env(self, name: str = "agent", **more: str) -> dict[str, str]:
        return super().env(name, **{"KIT_BROKER": self.broker, **more})

    def _client(self) -> Connection:
        address = str(self.folder / "socket")
        with Listener(address, "AF_UNIX") as listener:
            argv = python("-m", f"{PATH}.client")
            self.start(argv, "client", KIT_SOCKET=address)
            connection = listener.accept()
        # At its end the publisher ends too.
        self.stack.callback(connection.close)
        return connection

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Have the publisher do something; its answer."""
        with self.calling:
            self.client.send((name, args, options))
            answer, error = self.client.recv()
        assert error is None, f"{name}{args}: {error}"
        return answer

    def worker(self, name: str, *options: str, broker: str = "", **env: str) -> Worker:
        """Start a worker on a broker of its own and wait until it is ready."""
        if not broker:
            with self.lock:
                broker = self.broker.removesuffix("0") + str(next(self.databases))
        with STARTING:
            program = self.run_worker(name, *options, KIT_BROKER=broker, **env)
        return Worker(self, name, broker, program)

    def run_worker(self, name: str, *options: str, **env: str) -> Program:
        argv = python("-m", "celery", "-A", f"{PATH}.kit:app", "worker", "-n", f"{name}@%h")
        argv += ["--without-gossip", "--without-mingle", "-l", "info", *options]
        program = self.start(argv, name, **env)
        wait_for(
            lambda: "ready." in program.output() or program.popen.poll() is not None,
            f"worker {name} is ready",
            START,
        )
        assert program.popen.poll() is None, program.output()[-4000:]
        return program

    def again(self, worker: Worker, *options: str, **env: str) -> Worker:
        """A second worker on the broker of one that is gone."""
        return self.worker(f"{worker.name}-2", *options, broker=worker.broker, **env)

    def pid(self, task_id: str) -> int:
        """The process that runs a held task, once it does; the note of it is taken away."""
        note = self.gates / f"{task_id}.pid"
        pid = int(wait_for(lambda: note.exists() and note.read_text(), f"{task_id} runs", START))
        note.unlink()
        return pid

    def open(self, *gates: str) -> None:
        """Let held tasks go."""
        for gate in gates:
            (self.gates / gate).touch()


@contextlib.contextmanager
def beat(stand: Stand) -> Iterator[Program]:
    """Celery beat for as long as the context lasts; its broker is the shared one."""
    argv = python("-m", "celery", "-A", f"{PATH}.kit:app", "beat", "-l", "info")
    argv += ["-s", str(stand.folder / "schedule"), "--pidfile="]
    with running(argv, stand.folder / "beat.log", stand.env("beat")) as program:
        yield program
