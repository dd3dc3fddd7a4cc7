"""The built-in store: what it keeps, what it drops, what it survives."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from followthrough.console import queries
from followthrough.console import store as module
from followthrough.console.queries import Query

MIB = 1024**2


def kept(store):
    return [one.trace_id for one in queries.find(store, Query(limit=100_000))]


def fill(store, make_span, count, clock):
    """Keep `count` traces of some 4 KiB, each later than the one before."""
    for number in range(1, count + 1):
        clock.now += 1
        store.add([make_span(trace=number, name=f"job {number}", message="x" * 4096)])


def test_spans_come_back_by_trace_in_order_of_time(store, make_span):
    late, early, other = make_span(span=1, at=5), make_span(span=2), make_span(trace=2)
    assert store.add([late, early, other]) == 0
    assert queries.trace(store, late.trace_id) == [early, late]


def test_a_span_sent_twice_is_kept_and_counted_once(store, make_span):
    store.add([make_span()])
    store.add([make_span(), make_span(span=2)])
    (summary,) = queries.find(store, Query())
    assert summary.spans == 2


def test_a_trace_is_named_by_its_root_whatever_arrives_first(store, make_span):
    store.add([make_span(span=3, parent=9, at=-50, name="early orphan", service="worker")])
    store.add([make_span(span=2, parent=1, name="child", status="ERROR")])
    store.add([make_span(span=1, at=1, took=100, name="root")])
    (summary,) = queries.find(store, Query())
    assert (summary.name, summary.service, summary.errors) == ("root", "web", 1)
    assert summary.duration == 151_000_000
    assert summary.services == {"web": 2, "worker": 1}


def test_a_trace_is_dropped_when_it_has_not_grown_for_the_age(store, make_span, clock):
    store.add([make_span(trace=1), make_span(trace=2)])
    clock.now += 3000
    store.add([make_span(trace=2, span=2)])
    clock.now += 1000
    store.prune()
    assert kept(store) == [make_span(trace=2).trace_id]
    assert queries.trace(store, make_span(trace=1).trace_id) == []


def test_names_are_forgotten_with_their_traces(store, make_span, clock):
    store.add([make_span(service="gone")])
    clock.now += 4000
    store.prune()
    assert queries.services(store) == []


def test_the_oldest_go_first_when_it_is_full_and_the_files_stay_in_bounds(
    open_store, make_span, clock, tmp_path
):
    store = open_store(max_bytes=8 * MIB)
    fill(store, make_span, 3000, clock)
    traces = kept(store)
    newest = {make_span(trace=number).trace_id for number in range(3001 - len(traces), 3001)}
    assert 500 < len(traces) < 3000
    assert set(traces) == newest
    assert (tmp_path / "traces.db").stat().st_size <= 8 * MIB
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 13 * MIB
    assert len(queries.operations(store, "web")) <= len(traces) * 1.2


def test_a_lower_bound_shrinks_the_file(open_store, make_span, clock, tmp_path):
    store = open_store()
    fill(store, make_span, 1000, clock)
    store.close()
    store = open_store(max_bytes=2 * MIB)
    store.prune()
    store.close()
    assert (tmp_path / "traces.db").stat().st_size <= 2 * MIB


def test_one_request_larger_than_the_store_leaves_it_in_bounds(open_store, make_span, tmp_path):
    store = open_store(max_bytes=MIB)
    store.add([make_span(span=number, message="x" * 4096) for number in range(1, 1000)])
    store.add([make_span(trace=2)])
    assert kept(store) == [make_span(trace=2).trace_id]
    store.close()
    assert (tmp_path / "traces.db").stat().st_size <= MIB


def test_spans_of_a_full_trace_are_refused(store, make_span, monkeypatch):
    monkeypatch.setattr(module, "SPANS_PER_TRACE", 3)
    spans = [make_span(span=number) for number in range(1, 6)]
    assert store.add([*spans, make_span(trace=2)]) == 2
    assert len(queries.trace(store, spans[0].trace_id)) == 3


def test_traces_outlive_a_restart(open_store, make_span):
    open_store().add([make_span()])
    assert len(kept(open_store())) == 1


@pytest.mark.parametrize("garbage", [b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_no_database_is_set_aside(open_store, make_span, tmp_path, garbage):
    (tmp_path / "traces.db").write_bytes(garbage)
    store = open_store()
    store.add([make_span()])
    assert len(kept(store)) == 1
    assert (tmp_path / "traces.db.corrupt").read_bytes() == garbage


def test_an_empty_file_is_a_new_store(open_store, make_span, tmp_path):
    (tmp_path / "traces.db").touch()
    open_store().add([make_span()])
    assert not (tmp_path / "traces.db.corrupt").exists()


def test_a_file_that_becomes_corrupt_is_replaced_while_it_runs(
    open_store, make_span, clock, tmp_path
):
    store = open_store()
    fill(store, make_span, 200, clock)
    store.close()
    store = open_store()
    with (tmp_path / "traces.db").open("r+b") as file:
        file.seek(4096 * 4)
        file.write(b"\xff" * 4096 * 200)
    with pytest.raises(sqlite3.DatabaseError):
        [queries.trace(store, make_span(trace=number).trace_id) for number in range(1, 201)]
    store.add([make_span(trace=999)])
    assert kept(store) == [make_span(trace=999).trace_id]
    assert (tmp_path / "traces.db.corrupt").exists()


def test_a_file_of_another_version_is_begun_anew(open_store, make_span, tmp_path):
    open_store().add([make_span()])
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert kept(open_store()) == []


def test_a_failure_keeps_nothing_of_its_request(store, make_span):
    def broken():
        yield make_span()
        raise LookupError

    with pytest.raises(LookupError):
        store.add(broken())
    assert kept(store) == []
    assert store.add([make_span()]) == 0


def test_threads_may_share_it(store, make_span):
    def work(first):
        for number in range(first, first + 50):
            store.add([make_span(trace=number)])
            queries.find(store, Query())

    threads = [threading.Thread(target=work, args=(1000 * n + 1,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept(store)) == 200


def test_dependencies_count_calls_between_services(store, make_span):
    store.add([make_span(), make_span(span=2, parent=1, service="worker")])
    store.add([make_span(trace=2), make_span(trace=2, span=2, parent=1, service="worker")])
    assert queries.dependencies(store, 0, 2**62) == {("web", "worker"): 2}


def test_a_closed_store_says_so_and_leaves_its_file_alone(store, make_span, tmp_path):
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.add([make_span()])
    assert not (tmp_path / "traces.db.corrupt").exists()
