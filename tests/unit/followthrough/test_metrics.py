"""Counts are right over threads, forks, deaths and whatever a disk does."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from followthrough import metrics, slots
from followthrough.metrics import catalogue, ends, exposition, file, labels, store
from followthrough.metrics.exposition import expose
from followthrough.outcome import Outcome, decide_request
from followthrough.testing import Captured
from tests.support import HOME, program_env

FORKS = """
import os, sys
from pathlib import Path
from followthrough import metrics
from followthrough.outcome import SUCCESS, decide_request
metrics.use(Path(sys.argv[1]))
def count(times, own):
    for _ in range(times):
        metrics.count_published("all", "q")
        metrics.observe_task("all", SUCCESS, 0.25)
        metrics.observe_request("GET", "/all", decide_request(200), 0.25)
    metrics.count_published(own, "q")
count(5, "parent")
for child in range(3):
    if os.fork() == 0:
        count(7, f"child {child}")
        if child == 0 and os.fork() == 0:
            count(11, "grandchild")
            os._exit(0)
        if child == 0:
            os.wait()
        os._exit(0)
for _ in range(3):
    os.wait()
count(2, "parent, later")
"""

FIRST_OF_A_CHILD = """
import os, sys
from pathlib import Path
from followthrough import metrics
from followthrough.outcome import SUCCESS, decide_request
metrics.use(Path(sys.argv[1]))
counts = (
    lambda: metrics.count_published("t", "q"),
    lambda: metrics.observe_task("t", SUCCESS, 0.25),
    lambda: metrics.observe_request("GET", "/", decide_request(200), 0.25),
)
for _ in range(2):
    for count in counts:
        count()
for count in counts:
    if os.fork() == 0:
        count()
        os._exit(0)
    os.wait()
"""


def run(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        env=program_env({}),
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def test_a_request_is_counted_under_its_route(told: Captured) -> None:
    metrics.observe_request("GET", "/users/<id>", decide_request(200), 0.03)
    metrics.observe_request("GET", "/users/<id>", decide_request(200), 0.3)
    name = "http_server_request_duration_seconds"
    assert told.metric(f"{name}_count", http_route="/users/<id>") == 2
    assert told.metric(f"{name}_sum") == pytest.approx(0.33)
    buckets = [told.metric(f"{name}_bucket", le=le) for le in ("0.025", "0.05", "0.5", "+Inf")]
    assert buckets == [0, 1, 2, 2]


def test_a_task_is_counted_by_its_outcome(told: Captured) -> None:
    metrics.observe_task("t", Outcome("failure", "ValueError"), 2.0)
    metrics.observe_task("t", Outcome("failure", "WorkerLostError"), None)
    assert told.metric("celery_task_results_total", outcome="failure") == 2
    assert told.metric("celery_task_results_total", error_type="ValueError") == 1
    assert told.metric("celery_task_duration_seconds_count", outcome="failure") == 1


def test_known_tasks_are_there_at_zero(told: Captured) -> None:
    catalogue.alerts_dropped.clear()
    metrics.announce(["new.task"])
    text = expose(told.settings.state_dir).decode()
    assert 'celery_task_results_total{error_type="",outcome="failure",task="new.task"} 0.0' in text
    for reason in ("full", "unwritable"):
        assert f'alerts_dropped_total{{reason="{reason}"}} 0.0' in text


def test_forks_lose_and_double_nothing(tmp_path: Path) -> None:
    """Counted by a parent before and after it forked, three children and a grandchild."""
    run(FORKS, str(tmp_path))
    text = expose(tmp_path).decode()
    assert 'celery_tasks_published_total{queue="q",task="all"} 39.0' in text
    assert 'celery_task_results_total{error_type="",outcome="success",task="all"} 39.0' in text
    for name in ("celery_task", "http_server_request"):
        sample = rf"^{name}_duration_seconds_(count|sum){{.*}} ([\d.]+)$"
        found = re.findall(sample, text, re.MULTILINE)
        assert sorted(found) == [("count", "39.0"), ("sum", str(39 / 4))]
    for own in ("parent", "child 0", "child 1", "child 2", "grandchild", "parent, later"):
        assert f'celery_tasks_published_total{{queue="q",task="{own}"}} 1.0' in text


def test_a_child_counts_in_files_of_its_own_from_its_first_on(tmp_path: Path) -> None:
    run(FIRST_OF_A_CHILD, str(tmp_path))
    for slot, number in ((0, 2), (1, 1)):
        counters = file.read(tmp_path / "metrics" / f"counter_{slot}.db")
        assert {value for _, value in counters} == {number}
        histograms = file.read(tmp_path / "metrics" / f"histogram_{slot}.db")
        assert sum(value for key, value in histograms if "_bucket" in key) == 2 * number


def test_slots_of_the_dead_are_used_again_and_keep_their_counts(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from followthrough import metrics;"
        "metrics.use(Path(sys.argv[1])); metrics.count_published('t', 'q')"
    )
    for _ in range(4):
        run(code, str(tmp_path))
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["counter_0.db"]
    assert "} 4.0" in expose(tmp_path).decode()


def test_a_held_slot_is_not_given_out(tmp_path: Path) -> None:
    """POSIX locks are by process, so another process asks."""
    held = slots.Slot(tmp_path / "slots")
    code = (
        "import sys; from pathlib import Path; from followthrough.slots import Slot;"
        "print(Slot(Path(sys.argv[1])).number)"
    )
    assert run(code, str(tmp_path / "slots")) == "1\n"
    held.close()
    assert run(code, str(tmp_path / "slots")) == "0\n"


def test_threads_lose_nothing(told: Captured) -> None:
    def count() -> None:
        for _ in range(500):
            metrics.count_published("t", "q")
            metrics.observe_task("t", Outcome("success"), 0.5)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.metric("celery_tasks_published_total") == 2000
    assert told.metric("celery_task_results_total", outcome="success", task="t") == 2000
    assert told.metric("celery_task_duration_seconds_sum") == 1000


def test_many_series_grow_the_file(told: Captured) -> None:
    for n in [*range(300), 0]:
        metrics.observe_request("GET", f"/route/{n}", decide_request(200), 0.01)
    assert told.metric("http_server_request_duration_seconds_count") == 301
    assert told.metric("http_server_request_duration_seconds_count", http_route="/route/0") == 2
    number = slots.held.number(told.settings.state_dir / "slots")
    path = told.settings.state_dir / "metrics" / f"histogram_{number}.db"
    assert path.stat().st_size > file.SIZE
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "a sparse page may be a SIGBUS"


def test_what_was_counted_elsewhere_before_is_counted_anew(tmp_path: Path) -> None:
    """Where a number is in one file says nothing of another."""

    def count(task: str) -> None:
        metrics.count_published(task, "q")
        metrics.observe_task(task, Outcome("success"), 7.0)
        metrics.observe_request("GET", f"/{task}", decide_request(200), 7.0)

    for name, task in (("a", "t"), ("b", "first"), ("b", "t"), ("a", "t")):
        metrics.use(tmp_path / name)
        count(task)
    metrics.use(None)
    count("t")
    text = expose(tmp_path / "a").decode()
    assert 'published_total{queue="q",task="t"} 2.0' in text
    assert 'outcome="success",task="t"} 2.0' in text
    assert text.count("} 14.0") == 2
    text = expose(tmp_path / "b").decode()
    for task in ("t", "first"):
        assert f'published_total{{queue="q",task="{task}"}} 1.0' in text
        assert f'outcome="success",task="{task}"}} 1.0' in text
    assert text.count("} 7.0") == 4


def test_what_finds_its_file_just_closed_by_another_thread_is_counted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count() -> None:
        metrics.count_published("t", "q")
        metrics.observe_task("t", Outcome("success"), 7.0)
        metrics.observe_request("GET", "/t", decide_request(200), 7.0)

    metrics.use(tmp_path / "a")
    for _ in range(2):
        count()
    as_it_was = [store.here[0]]
    metrics.use(tmp_path / "b")
    for module in (store, ends):
        monkeypatch.setattr(module, "here", as_it_was)
    count()
    metrics.use(None)
    text = expose(tmp_path / "b").decode()
    assert 'published_total{queue="q",task="t"} 1.0' in text
    assert 'outcome="success",task="t"} 1.0' in text
    assert text.count("} 7.0") == 2
    assert expose(tmp_path / "a").decode().count("} 14.0") == 2


def test_after_its_slot_was_let_go_a_process_counts_in_new_files(told: Captured) -> None:

    def count() -> None:
        metrics.count_published("t", "q")
        metrics.observe_task("t", Outcome("success"), 2.0)
        metrics.observe_request("GET", "/t", decide_request(200), 2.0)

    count()
    shutil.rmtree(told.settings.state_dir)
    slots.held.let_go(told.settings.state_dir / "slots")
    count()
    assert told.metric("celery_tasks_published_total") == 1
    assert told.metric("celery_task_results_total") == 1
    assert told.metric("celery_task_duration_seconds_sum") == 2
    assert told.metric("http_server_request_duration_seconds_count") == 1


def test_a_full_disk_turns_counting_off_and_the_host_goes_on(
    told: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_fd: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file, "fallocate", full)
    for _ in range(3):
        metrics.count_published("t", "q")
    assert len([x for x in told.lines if "metrics are off" in x["event"]]) == 1
    assert told.metric("celery_tasks_published_total") == 0


def test_counting_starts_again_when_the_disk_has_room(
    told: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("followthrough.metrics.store.time.monotonic", lambda: now[0])
    with monkeypatch.context() as patch:
        patch.setattr(file, "fallocate", lambda _fd, _size: os.fstat(-1))
        metrics.count_published("again", "q")
    metrics.count_published("again", "q")
    now[0] += store.RETRY_AFTER + 1
    metrics.count_published("again", "q")
    assert told.metric("celery_tasks_published_total", task="again") == 1


def test_a_state_directory_that_cannot_be_made_is_one_line(told: Captured, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    metrics.use(blocked / "state")
    for _ in range(3):
        metrics.count_published("t", "q")
    assert len([x for x in told.lines if "metrics are off" in x["event"]]) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff" * 200,
        struct.pack("ii", 40, 0) + b"\xff" * 60,
        struct.pack("iii", 40, 0, 999) + b"x" * 60,
        struct.pack("iii", 44, 0, 12) + b'["a","b",{}]' + struct.pack("dd", 1.0, 0.0),
        struct.pack("iii", 52, 0, 20) + b'["a","b",{},"d"]    ' + struct.pack("dd", -1.0, 0.0),
    ],
)
def test_a_corrupt_file_breaks_no_scrape_and_is_counted(told: Captured, content: bytes) -> None:
    metrics.count_published("t", "q")
    (told.settings.state_dir / "metrics" / "counter_99.db").write_bytes(content)
    before = exposition._Errors.total
    assert told.metric("celery_tasks_published_total") == 1
    assert exposition._Errors.total == before + 1
    assert told.metric("telemetry_scrape_errors_total") == before + 2


def test_a_corrupt_file_of_our_own_slot_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "counter_0.db"
    path.write_bytes(struct.pack("iii", 40, 0, 999) + b"x" * 60)
    opened = file.File.at(path)
    opened.numbers[opened.index("key")] += 2.0
    assert opened.read_value("key") == (2.0, 0.0)
    opened.done()
    assert path.with_suffix(".broken").exists()


def test_nothing_counted_is_a_valid_answer(tmp_path: Path) -> None:
    text = expose(tmp_path / "nothing").decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    spans = {
        f"telemetry_{kind}_{each}"
        for kind in ("spans", "logs", "events")
        for each in ("produced", "exported", "held", "dropped")
    }
    assert names == {"telemetry_scrape_errors", "build_info", *spans}


def test_a_label_with_too_many_values_goes_to_other_and_is_counted(told: Captured) -> None:
    bounded = labels.Bounded("made_up", 3)
    assert [bounded(x) for x in ("a", "b", "c", "d", "a", "")] == [
        "a",
        "b",
        "c",
        "__other__",
        "a",
        "",
    ]
    assert told.metric("telemetry_series_dropped_total", label="made_up") == 1


def test_error_types_are_bounded_for_each_task(told: Captured) -> None:
    for n in range(40):
        metrics.observe_task("many.errors", Outcome("failure", f"E{n}"), 1.0)
    metrics.observe_task("other.task", Outcome("failure", "E39"), 1.0)
    found = told.metric("celery_task_results_total", task="many.errors", error_type="__other__")
    assert found == 10
    assert told.metric("celery_task_results_total", task="other.task", error_type="E39") == 1


def test_the_hosts_own_metrics_are_left_alone(
    told: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "theirs"))
    theirs = prometheus_client.Counter("theirs_total", "Theirs.", registry=None)
    theirs.inc()
    metrics.count_published("t", "q")
    assert not (tmp_path / "theirs").exists()
    assert b"theirs" not in expose(told.settings.state_dir)
    assert list(prometheus_client.REGISTRY.collect())
    names = {m.name for m in prometheus_client.REGISTRY.collect()}
    assert "celery_tasks_published" not in names


def test_the_text_is_what_prometheus_clients_own_merge_gives(told: Captured) -> None:
    """Our merge differs from theirs in what it survives, not in what it says."""
    from prometheus_client.multiprocess import MultiProcessCollector

    for seconds in (0.001, 0.2, 3, 50):
        metrics.observe_request("GET", "/a", decide_request(200), seconds)
        metrics.observe_task("t", Outcome("success"), seconds)
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry, path=str(told.settings.state_dir / "metrics"))
    theirs = _samples(prometheus_client.generate_latest(registry))
    ours = _samples(expose(told.settings.state_dir))
    assert theirs
    assert {key: ours.get(key) for key in theirs} == theirs


def _samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_names_follow_the_conventions() -> None:
    for metric in (catalogue.request_duration, catalogue.task_duration):
        assert metric._name.endswith("_seconds")
    for counter in (catalogue.tasks_published, catalogue.task_results, catalogue.telemetry_errors):
        assert counter._original_name.endswith("_total")
