"""The rows whose point is the shape of a trace: callbacks, beat, eager tasks, workflows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from tests.integration.outcomes.expect import Check, End, Problem, Told
from tests.integration.outcomes.rows import SUCCESS, sent
from tests.integration.outcomes.seen import Seen, attributes, brief, linked
from tests.integration.outcomes.stand import Stand, Worker, beat
from tests.support import wait_for

BROKE = End("failure", "ValueError", "it broke")
DELAY = 2.0


def callbacks(stand: Stand, _worker: Worker) -> list[Told]:
    """Row 28."""
    published = Told(28, "link_error", "r28.fail", stand.call("failing", "r28.errback"), (BROKE,))
    inline = Told(28, "inline errback", "r28.fail", stand.call("failing", "r28.inline"), (BROKE,))
    published.checks = (_errback(published.id),)
    inline.checks = (_inline(inline.id),)
    ids = stand.call("failing_chord")
    header = Told(28, "chord's header", "r28.fail", ids["header"][0], (BROKE,))
    # Its message was never sent: the span says so below the header's that failed.
    body = Told(28, "chord's body", "r28.body", ids["body"], (End("abandoned", "ChordError"),))
    body.parent = f"task:{header.id}"
    return [published, inline, header, body]


def _errback(failed: str) -> Check:
    """One errback, published by the attempt that failed, told as any task."""

    def check(seen: Seen) -> Iterator[Problem]:
        (attempt,) = seen.attempts(failed)
        below = [s for s in seen.spans if s.parent_span_id == attempt.span_id]
        sends = [s for s in below if s.name == "send r28.errback"]
        if len(sends) != 1:
            yield Problem("parent", f"sent by the failed attempt: {brief(below)}")
            return
        ran = [s for s in seen.spans if s.parent_span_id == sends[0].span_id]
        if [attributes(s).get("celery.outcome") for s in ran] != ["success"]:
            yield Problem("span", f"the errback: {brief(ran)}")

    return check


def _inline(failed: str) -> Check:
    """The errback that runs within the failed attempt is seen there."""

    def check(seen: Seen) -> Iterator[Problem]:
        (attempt,) = seen.attempts(failed)
        below = [s for s in seen.spans if s.parent_span_id == attempt.span_id]
        if [s for s in below if "r28.inline" in s.name] == []:
            events = [event.name for event in attempt.events]
            yield Problem("span", f"no inline errback in {brief(below)} or {events}")

    return check


def timed(stand: Stand, worker: Worker) -> list[Told]:
    """Row 29: a task that waits for its time waits nowhere in its run time."""
    countdown = sent(
        worker, 29, "countdown", "r29.countdown", SUCCESS, args=(1, 1), countdown=DELAY
    )
    eta = sent(worker, 29, "eta", "r29.eta", SUCCESS, args=(1, 1), countdown=DELAY)
    for told in (countdown, eta):
        told.checks = (_waited(told.id),)
        told.since += int(DELAY * 1e9)
    return [countdown, eta]


def _waited(task_id: str) -> Check:
    def check(seen: Seen) -> Iterator[Problem]:
        (span,) = seen.attempts(task_id)
        has = attributes(span)
        times = [float(has.get(f"celery.time.{part}", 0)) for part in ("broker", "eta")]
        # A busy worker may receive it so late that it need not wait.
        if not DELAY - 0.5 < sum(times) < DELAY + 10:
            yield Problem("span", f"in the broker, and waiting for its time: {times}")
        if not has.get("celery.eta"):
            yield Problem("span", "celery.eta is not there")

    return check


def ticks(stand: Stand, _worker: Worker) -> list[Told]:
    """Row 29: beat."""
    since = time.time_ns()
    with beat(stand) as program:
        # Just after it has sent one: then it does not end while it sends the next.
        count = len(wait_for(lambda: _ticks(stand.look(), 2), "beat has sent", 30))
    count = max(count, program.output().count("(r29.beat)"))
    sends = wait_for(lambda: _ticks(stand.look(), count), f"{count} messages of beat", 30)
    tolds = []
    for send in sends:
        task_id = str(attributes(send)["messaging.message.id"])
        told = Told(29, "beat", "r29.beat", task_id, (SUCCESS,), since=since)
        told.checks = (_tick(send),)
        tolds.append(told)
    return tolds


def _ticks(seen: Seen, count: int) -> list[Any]:
    found = [span for span in seen.spans if span.name == "send r29.beat"]
    return found if len(found) >= count else []


def _tick(send: Any) -> Check:
    """The tick is the root of its trace, and says which entry it is and how late."""

    def check(seen: Seen) -> Iterator[Problem]:
        root = seen.by_id.get(send.parent_span_id)
        if root is None or root.parent_span_id:
            yield Problem("parent", "the send span is not below a root span of the tick")
            return
        has = attributes(root)
        if has.get("celery.schedule.entry") != "every-second":
            yield Problem("span", f"the tick's entry: {has}")
        if not 0 <= float(has.get("celery.schedule.late", -1)) < 60:
            yield Problem("span", f"the tick's lateness: {has}")

    return check


def called(stand: Stand, _worker: Worker) -> list[Told]:
    """Row 29: without a broker, and by name."""
    since = time.time_ns()
    task_id = str(uuid.uuid4())
    answer = stand.call("eager", "r29.eager", task_id)
    eager = Told(29, "apply", "r29.eager", task_id, (SUCCESS,), parent=answer["caller"].to_bytes(8))
    eager.system = ""
    eager.spans = lambda seen: [s for s in seen.by_task.get(task_id, []) if "process" in s.name]
    named = stand.call("by_name", "r29.by_name", 1, 2)
    return [eager, Told(29, "send_task", "r29.by_name", named, (SUCCESS,), since=since)]


def workflows(stand: Stand, _worker: Worker) -> list[Told]:
    """Row 29: each in one trace, each step below what sent it."""
    chain = stand.call("in_line")
    tolds = [_add("chain", task_id) for task_id in chain]
    tolds[-1].checks = (_one_trace(chain), *_steps(chain))
    group = stand.call("side_by_side")
    tolds += [_add("group", task_id) for task_id in group]
    tolds[-1].checks = (_one_trace(group),)
    for name in ("plain_chord", "joined"):
        tolds += _chord(name, stand.call(name))
    starmap = stand.call("starmap")
    tolds.append(Told(29, "starmap", "celery.starmap", starmap, (SUCCESS,)))
    return tolds


def _add(variant: str, task_id: str) -> Told:
    return Told(29, variant, "r29.add", task_id, (SUCCESS,))


def _chord(name: str, ids: dict[str, Any]) -> list[Told]:
    header = [_add(name, each) for each in ids["header"]]
    if name == "joined":
        header[-1].task = "r29.joined"
    body = Told(29, f"{name}'s body", "r29.sum", ids["body"], (SUCCESS,))
    body.checks = (_one_trace([*ids["header"], ids["body"]]), _linked(ids["body"], ids["header"]))
    return [*header, body]


def _one_trace(ids: list[str]) -> Check:
    def check(seen: Seen) -> Iterator[Problem]:
        traces = {span.trace_id for each in ids for span in seen.attempts(each)}
        if len(traces) != 1:
            yield Problem("parent", f"{len(traces)} traces")

    return check


def _steps(chain: list[str]) -> list[Check]:
    """Each step's message is sent by the step before."""

    def step(before: str, after: str) -> Check:
        def check(seen: Seen) -> Iterator[Problem]:
            senders = [send.parent_span_id for send in seen.sends(after)]
            if senders != [attempt.span_id for attempt in seen.attempts(before)]:
                yield Problem("parent", "a step is not sent by the step before")

        return check

    return [step(*pair) for pair in pairwise(chain)]


def _linked(body: str, header: list[str]) -> Check:
    def check(seen: Seen) -> Iterator[Problem]:
        (span,) = seen.attempts(body)
        wanted = {s.span_id for each in header for s in seen.attempts(each)}
        if not wanted <= linked(span):
            missing = len(wanted - linked(span))
            yield Problem("parent", f"{missing} of {len(wanted)} headers are not linked")

    return check


def replaced(stand: Stand, worker: Worker) -> list[Told]:
    """Row 29: another task in its place, under the same id."""
    then = End("success", replacement="r29.replacement")
    return [sent(worker, 29, "replace", "r29.replaced", End("ignored"), then)]
