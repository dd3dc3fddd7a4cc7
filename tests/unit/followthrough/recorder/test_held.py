"""What a worker holds is found, whole, by whoever looks after its death."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from followthrough.recorder import held
from followthrough.recorder.held import Entry, Table

BROKER = {"url": "redis://:secret@h/0"}


def entry(tag: str = "tag", **values: object) -> Entry:
    return Entry(
        **{
            "tag": tag,
            "queue": "q",
            "task_id": "i",
            "task": "t",
            "traceparent": "p",
            "taken": 5.0,
            **values,
        }
    )  # type: ignore[arg-type]


def add(table: Table, tag: str = "tag", **values: object) -> bool:
    made = entry(tag, **values)
    texts = made.tag, made.queue, made.task_id, made.task, made.traceparent
    return table.add(texts, made.taken, made.critical)


def seen(table: Table) -> list[Entry]:
    found = held.read(table._fd)
    assert found is not None
    assert found.broker == BROKER
    assert found.pid == os.getpid()
    return found.entries


@pytest.fixture
def table(tmp_path: Path):
    made = Table(tmp_path, BROKER)
    yield made
    made.close()


def test_what_was_added_and_not_removed_is_there(table: Table) -> None:
    for tag in "abc":
        assert add(table, tag, critical=tag == "c")
    table.remove("b")
    table.runs("c", 77)
    assert seen(table) == [entry("a"), entry("c", critical=True, pid=77)]
    assert len(table) == 2


def test_a_message_that_comes_again_under_its_tag_is_one_entry(table: Table) -> None:
    add(table, "a", taken=1.0)
    add(table, "a", taken=2.0)
    assert seen(table) == [entry("a", taken=2.0)]


def test_what_waits_is_forgotten_and_what_runs_is_not(table: Table) -> None:
    add(table, "a")
    add(table, "b")
    table.runs("b", 77)
    table.forget_waiting()
    assert [each.tag for each in seen(table)] == ["b"]


def test_five_thousand_messages_take_little_room(table: Table) -> None:
    tags = [str(number) for number in range(5000)]
    assert all(add(table, tag, task="t" * 100, traceparent="p" * 55) for tag in tags)
    assert [each.tag for each in seen(table)] == tags
    assert table.path.stat().st_size < 4 * 1024**2


def test_more_than_the_most_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "FIRST", 2)
    monkeypatch.setattr(held, "MOST", 4)
    table = Table(tmp_path, BROKER)
    assert [add(table, str(number)) for number in range(6)] == [True] * 4 + [False] * 2
    table.remove("0")
    assert add(table, "6")
    table.close()


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=60), st.text(max_size=400))
def test_an_entry_says_what_it_takes_to_give_it_back_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, tag: str, queue: str, parent: str, task: str
) -> None:
    table = Table(tmp_path_factory.mktemp("held"), BROKER)
    fits = add(table, tag, queue=queue, traceparent=parent, task=task)
    assert fits == (len(tag.encode()) + len(queue.encode()) + 1 <= held._ROOM)
    for found in seen(table):
        assert (found.tag, found.queue, found.task_id) == (tag, queue, "i")
        assert found.traceparent in (parent, "")
    table.close()


@given(st.text(st.characters(codec="ascii")), st.text(st.characters(codec="ascii"), max_size=400))
def test_an_entry_of_plain_ascii_says_what_any_other_says(queue: str, task: str) -> None:
    """The short way for it is as the long one."""
    texts = ("tag", queue, "i", task, "p" * 55)
    fitting = held._fitting(*texts)
    if fitting is not None and len("".join(texts)) <= held._ROOM:
        assert fitting == [text.encode() for text in texts]


def test_only_its_owner_reads_it_and_nobody_takes_it_while_the_owner_lives(
    tmp_path: Path,
) -> None:
    code = "import sys, pathlib, time; from followthrough.recorder.held import Table; "
    code += "t = Table(pathlib.Path(sys.argv[1]), {}); t.add(('a', 'q', 'i', 't', ''), 1.0); "
    code += "print(t.path, flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        path = Path(owner.stdout.readline().strip())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert held.take(path) is None
        owner.kill()
        owner.wait()
    fd = held.take(path)
    assert fd is not None
    found = held.read(fd)
    assert found is not None
    assert [each.tag for each in found.entries] == ["a"]
    os.close(fd)


def test_tables_long_dead_are_removed_and_the_others_kept(tmp_path: Path) -> None:
    table = Table(tmp_path, BROKER)
    ages = {"old.held": 8, "older.claimed": 9, "young.held": 1}
    for name, days in ages.items():
        path = held.folder(tmp_path) / name
        path.touch()
        os.utime(path, (time.time() - days * 86400,) * 2)
    held.prune(tmp_path)
    left = {path.name for path in held.folder(tmp_path).iterdir()}
    assert left == {"young.held", table.path.name}
    table.close()


@given(st.binary(max_size=500), st.booleans())
def test_any_other_file_is_none(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, begins: bool
) -> None:
    path = tmp_path_factory.mktemp("held") / "x"
    path.write_bytes(held.MAGIC * begins + content)
    with path.open("rb") as file:
        assert held.read(file.fileno()) is None
