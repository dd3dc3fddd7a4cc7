"""OpenTelemetry's variables have their standard meaning for light spans too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.followthrough.test_setup import run

ALONE = {"FOLLOWTHROUGH_START_AGENT": "false"}
SAMPLED = """
import json, followthrough
from followthrough.tracing import get_tracer
followthrough.configure("x")
span = get_tracer("a").start_span("x")
print(json.dumps([type(span).__name__, span.get_span_context().trace_flags.sampled]))
"""


@pytest.mark.parametrize(
    ("sampler", "argument", "sampled"),
    [
        ("always_on", "", True),
        ("always_off", "", False),
        ("parentbased_always_on", "", True),
        ("parentbased_always_off", "", False),
        ("traceidratio", "0", False),
        ("traceidratio", "1", True),
        ("parentbased_traceidratio", "0", False),
        ("", "", True),
    ],
)
def test_the_sampler_of_the_environment_decides(
    tmp_path: Path, sampler: str, argument: str, sampled: bool
) -> None:
    env = {**ALONE, "OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    name = "LightSpan" if sampled else "UnsampledSpan"
    assert run(SAMPLED, tmp_path, **{k: v for k, v in env.items() if v}) == [name, sampled]


LIMITED = """
import json, followthrough
from followthrough.tracing import get_tracer
followthrough.configure("x")
span = get_tracer("a").start_span("x", attributes={"a": "long", "b": "long"})
for number in range(3):
    span.add_event(str(number), {"a": "long", "b": "long"})
    span.add_link(span.get_span_context(), {"a": "long", "b": "long"})
parts = [span, span.events[0], span.links[0]]
print(json.dumps([
    [dict(part.attributes) for part in parts], [part.dropped_attributes for part in parts],
    [len(span.events), len(span.links)], [span.dropped_events, span.dropped_links],
]))
"""


def test_the_limits_of_the_environment_hold(tmp_path: Path) -> None:
    env = {
        **ALONE,
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3",
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "2",
        "OTEL_ATTRIBUTE_COUNT_LIMIT": "1",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "1",
        "OTEL_SPAN_LINK_COUNT_LIMIT": "2",
    }
    attributes, dropped, numbers, dropped_parts = run(LIMITED, tmp_path, **env)
    assert attributes == [{"b": "lo"}, {"b": "lon"}, {"b": "lon"}]
    assert dropped == [1, 1, 1]
    assert (numbers, dropped_parts) == ([1, 2], [2, 1])


FORKED = """
import json, os, followthrough
from followthrough.tracing import get_tracer
followthrough.configure("x")
tracer, (read, write) = get_tracer("a"), os.pipe()
def told():
    resource = tracer.start_span("x").resource.attributes
    return [resource[name] for name in ("process.pid", "service.instance.id", "team")]
mine, parent = told(), os.getpid()
if (pid := os.fork()) == 0:
    os.write(write, json.dumps(told()).encode())
    os._exit(0)
os.waitpid(pid, 0)
child = json.loads(os.read(read, 1000))
print(json.dumps([mine == [parent, *mine[1:]], child == [pid, *child[1:]], mine[1:], child[1:]]))
"""


@pytest.mark.parametrize("given", [True, False])
def test_a_forked_child_is_another_process_of_the_same_service(tmp_path: Path, given: bool) -> None:
    """It has a pid and an id of its own, but for an id that was given."""
    attributes = "team=a,service.instance.id=given" if given else "team=a"
    env = {
        **ALONE,
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "process",
        "OTEL_RESOURCE_ATTRIBUTES": attributes,
    }
    parents_pid, childs_pid, parent, child = run(FORKED, tmp_path, **env)
    assert parents_pid
    assert childs_pid
    assert parent[1] == child[1] == "a"
    assert (parent[0] == child[0] == "given") if given else parent[0] != child[0]
