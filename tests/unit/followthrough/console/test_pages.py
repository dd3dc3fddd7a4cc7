"""The pages, as text; tests/browser looks at them in a browser."""

from __future__ import annotations

import sqlite3
import time

import pytest

from followthrough.console.span import Link, Tag

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_an_empty_store_says_what_to_do(client):
    page = client.get("/", base_url="http://myhost:16686").text
    assert "No traces yet" in page
    assert "curl http://myhost:4318/v1/traces" in page
    assert "http://[::1]:4318" in client.get("/", base_url="http://[::1]:16686").text


def test_the_list_shows_each_trace_with_its_services(client, store, sample):
    store.add(sample)
    page = client.get("/").text
    assert f'href="/trace/{TRACE}"' in page
    assert "POST /api/send-email" in page
    assert "1 error" in page
    assert "followthrough-worker <b>4</b>" in page


@pytest.fixture
def three(store, make_span):
    """A quick trace, a slow one with an attribute, and a failed one."""
    tag = Tag("celery.task_id", "string", "id-7")
    store.add(
        [
            make_span(trace=1, name="quick"),
            make_span(trace=2, name="slow", took=900, tags=[tag], service="worker"),
            make_span(trace=3, name="failed", status="ERROR"),
        ]
    )


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {1, 2, 3}),
        ("service=worker", {2}),
        ("operation=quick", {1}),
        ("service=worker&operation=quick", set()),
        ("errors=1", {3}),
        ("minDuration=500ms", {2}),
        ("attribute=celery.task_id=id-7", {2}),
        ("attribute=celery.task_id=other", set()),
        ("attribute=span.kind=server", {1, 2, 3}),
        ("lookback=15m", set()),
    ],
)
def test_filters_choose_among_the_traces(client, three, query, shown):
    page = client.get(f"/?{query}").text
    assert {n for n in (1, 2, 3) if f"/trace/{n:032x}" in page} == shown
    assert ("No trace fits" in page) == (not shown)


def test_recent_traces_are_within_the_lookback(client, store, make_span):
    ago = time.time_ns() - make_span().start
    store.add([make_span(at=ago / 1e6 - 60_000)])
    assert "1 trace," in client.get("/?lookback=15m").text


@pytest.mark.parametrize("query", ["minDuration=soon", "attribute=nothing", "lookback=x"])
def test_a_filter_that_cannot_be_read_is_told(client, three, query):
    page = client.get(f"/?{query}").text
    assert 'role="alert"' in page
    assert query.split("=")[1] in page


def test_operations_are_those_of_the_chosen_service(client, three):
    page = client.get("/?service=worker").text
    assert "<option>slow</option>" in page
    assert "<option>quick</option>" not in page


def test_a_trace_shows_spans_attributes_events_links_and_errors(client, store, sample):
    store.add(sample)
    page = client.get(f"/trace/{TRACE}").text
    for text in (
        "process tasks.send_email",
        "SMTPServerDisconnected: gone",
        "celery.task_name",
        "exception.stacktrace",
        "parent not here",
        "2.88 ms in the queue",
        f'data-copy="{TRACE}"',
        'href="/trace/00000000000000000123456789abcdef#9999999999999999"',
        f'href="/api/traces/{TRACE}"',
    ):
        assert text in page, text


def test_what_programs_send_is_never_markup(client, store, make_span):
    evil = "<script>alert(1)</script>\"'"
    tag = Tag(evil, "string", evil)
    store.add(
        [
            make_span(
                name=evil,
                service=evil,
                status="ERROR",
                message=evil,
                tags=[tag],
                links=[Link("2" * 32, "3" * 16, [tag])],
            )
        ]
    )
    for address in ("/", f"/trace/{make_span().trace_id}", f"/?service={evil}", f"/trace/{evil}"):
        page = client.get(address).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page or address.startswith("/trace/<")


def test_a_huge_trace_is_shown_in_part(client, store, make_span):
    store.add([make_span(span=number, at=number) for number in range(1, 1201)])
    page = client.get(f"/trace/{make_span().trace_id}").text
    assert page.count('class="panel"') == 1000
    assert "200 more spans are not shown" in page


def test_a_trace_that_is_not_here_says_why(client):
    answer = client.get(f"/trace/{TRACE}")
    assert answer.status_code == 404
    assert "may still be on its way" in answer.text


@pytest.mark.parametrize(
    "pasted", [TRACE, f" {TRACE} ", f"00-{TRACE}-1111111111111111-01", f"{TRACE.upper()}"]
)
def test_a_pasted_id_or_header_leads_to_its_trace(client, store, sample, pasted):
    store.add(sample)
    answer = client.get("/trace", query_string={"id": pasted}, follow_redirects=True)
    assert answer.status_code == 200
    assert "process tasks.send_email" in answer.text


def test_an_id_that_is_none_is_refused_with_a_page(client):
    answer = client.get("/trace?id=hello", follow_redirects=True)
    assert answer.status_code == 400
    assert "hex digits" in answer.text


def test_an_unknown_address_has_a_page(client):
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert "Not found" in answer.text


def test_a_store_that_cannot_be_read_is_told(client, store, monkeypatch):
    def reading():
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store, "reading", reading)
    assert client.get("/").status_code == 503
    answer = client.get("/api/services")
    assert (answer.status_code, answer.json["errors"][0]["code"]) == (503, 503)


def test_pages_run_no_foreign_code_and_are_never_stale(client):
    headers = client.get("/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "script-src 'self'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
