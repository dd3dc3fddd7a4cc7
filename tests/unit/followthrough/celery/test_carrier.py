"""A message's headers are outside input: what is broken counts as absent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

from followthrough.celery import carrier
from followthrough.celery.carrier import HEADER, Lineage

SPANS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    is_remote=st.just(value=True),
    trace_flags=st.sampled_from([TraceFlags(0), TraceFlags(1)]),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"sent": JSON, "origin": JSON, "attempt": JSON, "links": JSON}
)


@given(st.floats(1, 2e9), st.none() | SPANS, st.none() | SPANS, st.lists(SPANS, max_size=5))
def test_what_is_written_is_read(
    sent: float, origin: SpanContext, attempt: SpanContext, links: list[SpanContext]
) -> None:
    lineage = Lineage(sent, origin, attempt, tuple(links))
    assert carrier.read({HEADER: carrier.write(lineage)}) == lineage


@given(JSON | FIELDS)
def test_nothing_that_a_header_holds_raises(value: object) -> None:
    found = carrier.read({HEADER: value})
    assert found.sent is None or found.sent > 0
    assert all(each.is_valid for each in found.links)


def test_links_are_bounded() -> None:
    one = f"00-{1:032x}-{1:016x}-01"
    assert len(carrier.read({HEADER: {"links": [one] * 1000}}).links) == carrier.MOST_LINKS


def test_zero_ids_and_other_versions_are_none() -> None:
    broken = ["", "x", f"00-{0:032x}-{1:016x}-01", f"01-{1:032x}-{1:016x}-01", None, 5]
    assert [carrier.parse(value) for value in broken] == [None] * len(broken)


def test_a_later_attempt_is_in_the_context_of_the_first_send() -> None:
    origin = f"00-{7:032x}-{8:016x}-01"
    headers = {"traceparent": f"00-{7:032x}-{9:016x}-01", HEADER: {"origin": origin}}
    span = trace.get_current_span(carrier.trace_context(headers)).get_span_context()
    assert span.span_id == 8
    assert carrier.trace_ids(headers) == {"trace_id": f"{7:032x}"}
