"""What a killed worker held is back in its queue within seconds, and told."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from followthrough import quarantine
from followthrough.recorder import held
from tests.support import redis_server, wait_for
from tests.support.collector import collector
from tests.support.kit_worker import LOSING, Worker, start

pytestmark = pytest.mark.integration

WITHIN = 5.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as (_redis, url):
        yield url


@pytest.fixture
def client(broker: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(broker) as client:
        client.flushall()
        yield client


@contextlib.contextmanager
def worker(folder: Path, url: str, *options: str, **env: str) -> Iterator[Worker]:
    folder.mkdir(exist_ok=True)
    with (
        collector() as spans,
        start(folder, url, spans.endpoint, *options, FOLLOWTHROUGH_STRICT="1", **env) as (
            program,
            state,
        ),
    ):
        found = Worker(program, url, state, spans)
        # The first message begins the table, and with it an agent.
        found.end(found.send("kit.add", 1, 1))
        wait_for((state / "agent.log").exists, "an agent", LOSING)
        yield found


def kill(worker: Worker) -> float:
    processes = [psutil.Process(worker.program.pid)]
    processes += processes[0].children(recursive=True)
    # The main process alone; the kernel sends its children after it.
    processes[0].kill()
    psutil.wait_procs(processes, 10)
    return time.monotonic()


def agent_lines(worker: Worker, event: str) -> list[dict[str, Any]]:
    texts = (worker.state / "agent.log").read_text().splitlines()
    return [line for line in map(json.loads, texts) if line["event"] == event]


def waiting(client: redis.Redis) -> list[str]:
    return [json.loads(item)["headers"]["id"] for item in client.lrange("celery", 0, -1)]


def noted(worker: Worker) -> list[held.Entry]:
    (path,) = held.folder(worker.state).glob("*.held")
    with path.open("rb") as file:
        found = held.read(file.fileno())
    assert found is not None
    return list(found.entries)


def running(worker: Worker, task_id: str) -> bool:
    return any(each.task_id == task_id and each.pid for each in noted(worker))


def test_what_a_killed_worker_held_is_back_in_its_queue(
    tmp_path: Path, broker: str, client: redis.Redis
) -> None:
    """What ran and was not acknowledged, what waited for its time, and what was prefetched."""
    with worker(tmp_path, broker, "-c", "1", "--prefetch-multiplier", "3") as first:
        late = first.send("kit.wait_late")
        wait_for(lambda: running(first, late), "the first task runs", LOSING)
        others = [first.send("kit.add", 1, 1, countdown=600) for _ in range(3)]
        others += [first.send("kit.add", 2, 2)]
        # It is noted an instant after Redis has it as taken.
        wait_for(lambda: len(noted(first)) == 5, "the worker holds all")
        killed = kill(first)
        wait_for(lambda: len(waiting(client)) == 5, "all are back", WITHIN)
        assert time.monotonic() - killed < WITHIN
        assert set(waiting(client)) == {late, *others}
        assert client.hlen("unacked") == client.zcard("unacked_index") == 0
        # The one that ran is told as given back; the others have not begun.
        wait_for(lambda: agent_lines(first, "messages.restored"), "it is told")
        (line,) = agent_lines(first, "task.requeued")
        assert (line["task_id"], line["error_type"]) == (late, "WorkerLostError")
        assert line["service"] == "kit"
        assert agent_lines(first, "messages.restored")[0]["queues"] == {"celery": 5}
        restored = {line["task_id"] for line in agent_lines(first, "task.restored")}
        assert restored == {late, *others}
        assert not list(held.folder(first.state).glob("*"))
        items = [json.loads(item) for item in client.lrange("celery", 0, -1)]
        assert all(item["properties"]["delivery_info"]["redelivered"] for item in items)


def test_what_was_acknowledged_or_taken_by_another_worker_stays_where_it_is(
    tmp_path: Path, broker: str, client: redis.Redis
) -> None:
    with worker(tmp_path / "a", broker) as first:
        early = first.send("kit.wait")
        inspect = first.client.control.inspect(timeout=0.5)
        wait_for(lambda: early in json.dumps(inspect.active() or {}), "it runs", LOSING)
        wait_for(lambda: client.hlen("unacked") == 0, "it is acknowledged", LOSING)
        held_id = first.send("kit.wait_late")
        wait_for(lambda: running(first, held_id), "the second runs, unacknowledged", LOSING)
        (tag,) = client.hkeys("unacked")
        # As if the visibility timeout had passed, and another worker had taken it.
        client.zadd("unacked_index", {tag: time.time() + 60})
        kill(first)
        wait_for(lambda: not list(held.folder(first.state).glob("*")), "looked at", 15)
        assert client.hkeys("unacked") == [tag]
        assert waiting(client) == []
        assert agent_lines(first, "task.restored") == []
        assert early != held_id


def test_a_task_whose_whole_worker_is_killed_each_time_is_put_aside(
    tmp_path: Path, broker: str, client: redis.Redis
) -> None:
    sent: list[str] = []
    for deaths in range(1, 4):
        with worker(tmp_path, broker) as each:
            if not sent:
                sent.append(each.send("kit.wait_late"))
            wait_for(lambda each=each: running(each, sent[0]), f"it runs, {deaths}", LOSING)
            kill(each)
            wait_for(lambda each=each: not list(held.folder(each.state).glob("*")), "settled")
            assert waiting(client) == (sent if deaths < 3 else [])
            assert client.hlen("unacked") == 0
    assert len(agent_lines(each, "task.requeued")) == 2
    (line,) = agent_lines(each, "task.quarantined")
    assert (line["task_id"], line["error_type"]) == (sent[0], "Poisoned")
    (item,) = quarantine.items(each.state)
    assert (item.task_id, item.queue, item.reason) == (sent[0], "celery", "poison")


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_what_ran_in_a_killed_main_process_is_lost_and_back(
    tmp_path: Path, broker: str, client: redis.Redis, pool: str
) -> None:
    with worker(tmp_path, broker, "-P", pool) as first:
        task_id = first.send("kit.wait_late")
        wait_for(lambda: running(first, task_id), "it runs", LOSING)
        kill(first)
        wait_for(lambda: waiting(client) == [task_id], "it is back", WITHIN)
        wait_for(lambda: agent_lines(first, "task.lost"), "it is told", LOSING)
        assert [line["task_id"] for line in agent_lines(first, "task.lost")] == [task_id]
        assert agent_lines(first, "task.requeued") == []


def test_a_worker_that_stops_in_order_leaves_nothing(
    tmp_path: Path, broker: str, client: redis.Redis
) -> None:
    with worker(tmp_path, broker, "-c", "1") as first:
        task_id = first.send("kit.add", 1, 1, countdown=600)
        wait_for(lambda: client.hlen("unacked") == 1, "the worker holds it")
        assert first.program.stop() == 0
        assert waiting(client) == [task_id]
        assert not list(held.folder(first.state).glob("*"))


def test_what_is_said_of_the_broker_is_for_the_owners_eyes(
    tmp_path: Path, broker: str, client: redis.Redis
) -> None:
    with worker(tmp_path, broker, "-c", "1") as first:
        first.end(first.send("kit.add", 1, 1))
        (path,) = held.folder(first.state).glob("*.held")
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        os.kill(first.program.pid, signal.SIGTERM)
