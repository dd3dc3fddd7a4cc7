"""Headers from outside: what is broken counts as absent, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanContext

from followthrough.tracing import propagation

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def received(environ: dict[str, object], **kwargs: object) -> propagation.Received:
    return propagation.received(propagation.from_environ(environ), Context(), **kwargs)


def span_of(context: Context) -> SpanContext:
    return trace.get_current_span(context).get_span_context()


def test_a_trusted_caller_s_trace_and_baggage_go_on():
    found = received({"HTTP_TRACEPARENT": PARENT, "HTTP_BAGGAGE": "tenant=a,plan=b"})
    assert trace.format_trace_id(span_of(found.context).trace_id) == TRACE
    assert span_of(found.context).trace_flags.sampled
    assert dict(baggage.get_all(found.context)) == {"tenant": "a", "plan": "b"}
    assert found.links == ()


def test_an_untrusted_caller_is_linked_to_and_its_baggage_dropped():
    found = received({"HTTP_TRACEPARENT": PARENT, "HTTP_BAGGAGE": "tenant=a"}, trusted=False)
    assert not span_of(found.context).is_valid
    assert dict(baggage.get_all(found.context)) == {}
    (link,) = found.links
    assert trace.format_span_id(link.context.span_id) == SPAN
    assert not link.context.trace_flags.sampled
    assert not link.context.trace_state


def test_an_untrusted_caller_s_baggage_is_kept_by_name():
    header = "tenant=a, plan = b;secret=1,tenant2=c"
    found = received({"HTTP_BAGGAGE": header}, trusted=False, kept_baggage=frozenset({"plan"}))
    assert list(baggage.get_all(found.context)) == ["plan"]
    assert found.links == ()


@pytest.mark.parametrize(
    "header",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"{PARENT}\n{PARENT}",
        f"{PARENT}\x00",
        PARENT.upper(),
        PARENT + " " * 9000,
        "",
    ],
)
@pytest.mark.parametrize("trusted", [True, False])
def test_a_broken_traceparent_counts_as_absent(header: str, trusted: bool):
    found = received({"HTTP_TRACEPARENT": header}, trusted=trusted)
    assert not span_of(found.context).is_valid
    assert found.links == ()


def mostly(usual: str, *others: str) -> st.SearchStrategy[str]:
    return st.sampled_from([usual] * 2 * len(others) + [*others])


@given(
    mostly("00", "01", "ff", "0"),
    mostly(TRACE, "0" * 32, TRACE.upper(), "0" * 31 + "1", TRACE[1:]),
    mostly(SPAN, "0" * 16, "0" * 15 + "1", SPAN + "0"),
    st.integers(0, 255).map(lambda number: f"{number:02x}") | mostly("01", "0", "²1", "g0", "001"),
    mostly("", " ", "\t", "\n", "-x"),
)
def test_a_lone_traceparent_says_what_the_propagators_find_in_it(
    version: str, trace_id: str, span_id: str, flags: str, after: str
):
    headers = {"traceparent": f"{version}-{trace_id}-{span_id}-{flags}{after}"}
    base = baggage.set_baggage("around", "1", Context())
    expected = propagate.extract(headers, base)
    found = propagation.received(headers, base).context
    assert type(found) is Context
    assert found.keys() == expected.keys()
    assert span_of(found) == span_of(expected)
    assert span_of(found).is_remote == span_of(expected).is_remote
    assert baggage.get_all(found) == baggage.get_all(expected)


def test_a_lone_traceparent_means_nothing_where_the_host_s_propagator_is_another():
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        found = propagation.received({"traceparent": PARENT}, Context())
        assert not span_of(found.context).is_valid
    finally:
        propagate.set_global_textmap(before)


def test_baggage_is_cut_at_whole_entries():
    many = ",".join(f"k{n}=v" for n in range(1000))
    assert propagation.bounded_baggage(many).count(",") == propagation.MOST_ENTRIES - 1
    large = ",".join(f"k{n}={'x' * 1000}" for n in range(20))
    cut = propagation.bounded_baggage(large)
    assert len(cut) <= propagation.MOST_BYTES
    assert large.startswith(cut)
    assert cut.endswith("x" * 1000)


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage"]), st.binary()))
def test_no_bytes_in_headers_raise(raw: dict[str, bytes]):
    environ = {f"HTTP_{name.upper()}": value.decode("latin-1") for name, value in raw.items()}
    for trusted in (True, False):
        found = received(environ, trusted=trusted, kept_baggage=frozenset({"a"}))
        propagation.into_message(found.context)


@given(st.text(st.sampled_from("0123456789abcdef-ABX =,;%\t\x00é"), max_size=80))
def test_what_looks_like_headers_never_raises(text: str):
    for name in ("HTTP_TRACEPARENT", "HTTP_BAGGAGE"):
        received({"HTTP_TRACEPARENT": PARENT, name: text})
        received({"HTTP_TRACEPARENT": PARENT, name: text}, trusted=False)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50)
@given(
    ANYTHING | st.dictionaries(st.sampled_from(["traceparent", "tracestate", "baggage"]), ANYTHING)
)
def test_a_message_may_carry_anything_as_headers(headers: object):
    found = propagation.received(propagation.from_message(headers), Context())
    assert isinstance(found.context, Context)


def test_a_context_goes_through_a_message_whole():
    context = baggage.set_baggage("tenant", "ä=1", received({"HTTP_TRACEPARENT": PARENT}).context)
    headers = propagation.into_message(context)
    back = propagation.received(propagation.from_message(headers), Context()).context
    assert span_of(back).trace_id == span_of(context).trace_id
    assert dict(baggage.get_all(back)) == {"tenant": "ä=1"}


def test_baggage_on_its_way_to_a_task_is_bounded():
    context = Context()
    for number in range(100):
        context = baggage.set_baggage(f"k{number}", "v", context)
    assert propagation.into_message(context)["baggage"].count(",") == propagation.MOST_ENTRIES - 1


def test_a_propagator_that_raises_is_as_if_nothing_came(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> Context:
        raise ValueError("no such format")

    monkeypatch.setattr(propagate, "extract", fail)
    environ = {"HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": "a=1"}
    assert received(environ).context == Context()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HTTP_TRACEPARENT": PARENT},
        {"HTTP_TRACEPARENT": f"00-{TRACE}-{SPAN}-02"},
        {"HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": "a=1"},
        {"HTTP_TRACEPARENT": PARENT, "HTTP_BAGGAGE": "tenant=a"},
    ],
)
def test_a_message_s_headers_are_what_the_propagators_write(environ: dict[str, object]):
    context, expected = received(environ).context, dict[str, str]()
    propagate.inject(expected, context)
    assert propagation.into_message(context) == expected


def test_a_message_s_headers_are_those_of_the_host_s_own_propagator():
    context, before = received({"HTTP_TRACEPARENT": PARENT}).context, propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        assert propagation.into_message(context) == {}
    finally:
        propagate.set_global_textmap(before)
