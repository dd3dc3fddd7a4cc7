"""The API answers as Jaeger does: `jaeger-answers.json` is what Jaeger 2.13 said to each address
after `sample.json` was sent to it; `the trace` stands for the whole trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from followthrough.console import jaeger
from followthrough.console.span import Tag

ANSWERS = json.loads(Path(__file__).with_name("jaeger-answers.json").read_text())
TRACE = "0af7651916cd43dd8448eb211c80319c"


def plain(body):
    """An answer without what carries no meaning: the order of lists, the names of processes."""
    data = body["data"]
    if data == "the trace":
        data = ANSWERS[f"traces/{TRACE}"]["body"]["data"]
    if isinstance(data, list):
        data = sorted((_trace(one) for one in data), key=json.dumps)
    return {**body, "data": data}


def _trace(one):
    if "spans" not in one:
        return one
    spans = [_span(span, one["processes"]) for span in one["spans"]]
    return {**one, "spans": sorted(spans, key=json.dumps), "processes": None}


def _span(span, processes):
    tags = sorted(span["tags"], key=json.dumps)
    return {**span, "tags": tags, "process": processes[span["processID"]], "processID": None}


@pytest.mark.parametrize("address", ANSWERS)
def test_it_answers_as_jaeger_does(client, store, sample, address):
    store.add(sample)
    answer = client.get(f"/api/{address}")
    assert answer.status_code == ANSWERS[address]["status"]
    assert plain(answer.json) == plain(ANSWERS[address]["body"])


def test_searches_see_made_tags_and_errors(client, store, sample):
    store.add(sample)
    for wanted in ({"error": "true"}, {"span.kind": "consumer"}, {"event": "exception"}):
        query = {"service": "followthrough-worker", "start": "0", "tags": json.dumps(wanted)}
        assert len(client.get("/api/traces", query_string=query).json["data"]) == 1, wanted


def test_tags_have_to_be_on_one_span(client, store, make_span):
    def tags(*values):
        return [Tag(key, "int64", value) for key, value in zip("ab", values, strict=True)]

    store.add([make_span(span=1, tags=tags(1, 1)), make_span(span=2, tags=tags(2, 2))])
    for b, count in (("1", 1), ("2", 0)):
        wanted = json.dumps({"a": "1", "b": b})
        query = {"service": "web", "tags": wanted, "start": "0"}
        assert len(client.get("/api/traces", query_string=query).json["data"]) == count


def test_the_newest_come_first_up_to_the_limit(client, store, make_span):
    store.add([make_span(trace=number, at=number * 1000) for number in range(1, 6)])
    query = {"service": "web", "limit": "2", "start": "0", "end": "1800000000000000"}
    found = client.get("/api/traces", query_string=query).json["data"]
    assert [one["traceID"] for one in found] == ["5".zfill(16), "4".zfill(16)]


def test_a_search_answers_at_most_so_many_spans_but_at_least_a_trace(
    client, store, make_span, monkeypatch
):
    monkeypatch.setattr(jaeger, "SPANS", 4)
    for trace, spans in ((1, 1), (2, 2), (3, 2), (4, 1)):
        store.add([make_span(trace=trace, span=n, at=trace) for n in range(1, spans + 1)])
    store.add([make_span(trace=5, span=n, at=5, service="big") for n in range(1, 9)])
    for service, count in (("web", 2), ("big", 1)):
        query = {"service": service, "start": "0"}
        found = client.get("/api/traces", query_string=query).json["data"]
        assert len(found) == count


def test_lookback_counts_from_the_end(client, store, make_span):
    store.add([make_span()])
    end = make_span().start // 1000 + 3600 * 1_000_000
    for lookback, count in (("30m", 0), ("2h", 1), ("2d", 1)):
        query = {"service": "web", "lookback": lookback, "end": str(end)}
        found = client.get("/api/traces", query_string=query).json["data"]
        assert len(found) == count, lookback


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=0",
        "limit=-1",
        "minDuration=x",
        "minDuration=1",
        "maxDuration=5",
        "start=x",
        "end=1.5",
        "tags=x",
        "tags=[]",
        'tags={"a":1}',
        "tags=" + "[" * 20_000,
    ],
)
def test_values_that_cannot_be_read_are_refused_by_name(client, query):
    answer = client.get(f"/api/traces?service=web&{query}")
    assert answer.status_code == 400
    assert query.split("=")[0] in answer.json["errors"][0]["msg"]


@pytest.mark.parametrize("identity", ["zz", "1" * 33, "0x12"])
def test_a_trace_id_that_is_none_is_refused(client, identity):
    answer = client.get(f"/api/traces/{identity}")
    assert answer.status_code == 400
    assert answer.json["errors"][0]["code"] == 400


def test_short_and_upper_case_ids_find_their_trace(client, store, make_span):
    store.add([make_span(trace=0xABC)])
    for identity in ("abc", "ABC", "0abc", "abc".zfill(32)):
        assert client.get(f"/api/traces/{identity}").status_code == 200


def test_an_unknown_address_is_answered_in_json(client):
    answer = client.get("/api/nothing")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (404, 404)


def test_huge_numbers_are_cut_to_what_the_store_holds(client, store, make_span):
    store.add([make_span()])
    huge = "9" * 30
    query = {"service": "web", "start": "0", "end": huge, "maxDuration": f"{huge}s"}
    assert len(client.get("/api/traces", query_string=query).json["data"]) == 1
    assert client.get(f"/api/dependencies?endTs={huge}").status_code == 200


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1s", 10**9), ("1.5ms", 1_500_000), ("1h30m", 5400 * 10**9), ("7us", 7000), ("7µs", 7000)],
)
def test_durations_are_read_as_go_writes_them(text, nanoseconds):
    assert jaeger.duration(text) == nanoseconds
