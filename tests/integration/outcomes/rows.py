"""The rows whose tasks harm at most the process that they run in: most share a worker."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
import uuid
from typing import Any

from tests.integration.outcomes.expect import End, Told
from tests.integration.outcomes.seen import Seen, attributes
from tests.integration.outcomes.stand import Stand, Worker

LOST = "signal 9|SIGKILL"
# Billiard waits ten seconds for a lost process's result; the span ends when the process did.
KILLED = End("lost", "WorkerLostError", LOST, most=14)
SUCCESS = End("success")


def sent(worker: Worker, row: int, variant: str, task: str, *ends: End, **more: Any) -> Told:
    """Publish a task that ends so."""
    args = more.pop("args", ())
    fields = {key: more.pop(key) for key in ("label", "checks", "parent") if key in more}
    since = time.time_ns()
    task_id = worker.send(task, *args, **more)
    return Told(row, variant, task, task_id, ends, since=since, system=worker.system, **fields)


def success(_stand: Stand, worker: Worker) -> list[Told]:
    return [sent(worker, 1, "success", "r01.add", SUCCESS, args=(2, 3))]


def failure(_stand: Stand, worker: Worker) -> list[Told]:
    return [sent(worker, 2, "failure", "r02.fail", End("failure", "ValueError", "it broke"))]


def retry(_stand: Stand, worker: Worker) -> list[Told]:
    again = End("retry", "KeyError", "not yet")
    given_up = End("failure", "KeyError", "never")
    return [
        sent(worker, 3, "retry", "r03.retry", again, SUCCESS),
        sent(worker, 3, "gives up", "r03.gives_up", End("retry", "KeyError", "never"), given_up),
    ]


def ignore(_stand: Stand, worker: Worker) -> list[Told]:
    return [sent(worker, 4, "Ignore", "r04.ignore", End("ignored"))]


def reject(_stand: Stand, worker: Worker) -> list[Told]:
    return [sent(worker, 5, "Reject", "r05.reject", End("rejected", "ValueError", "not wanted"))]


def requeue(_stand: Stand, worker: Worker) -> list[Told]:
    back = End("requeued", "ValueError", "not now")
    return [sent(worker, 6, "requeue", "r06.requeue", back, End("success", redelivered=True))]


def revoked(_stand: Stand, worker: Worker) -> list[Told]:
    task_id = str(uuid.uuid4())
    worker.revoke(task_id)
    end = End("revoked")
    return [sent(worker, 7, "on arrival", "r07.revoked", end, args=(1, 1), task_id=task_id)]


def expired(_stand: Stand, worker: Worker) -> list[Told]:
    end = End("expired", "Expired")
    return [sent(worker, 9, "on arrival", "r09.expired", end, args=(1, 1), expires=-5)]


def held_back(stand: Stand, _shared: Worker) -> list[Told]:
    """Rows 8 and 9 on a worker whose only process is busy."""
    worker = stand.worker("busy", "-c", "1")
    holding = sent(worker, 8, "before it", "r08.hold", End("success", most=60))
    stand.pid(holding.id)
    waiting = sent(worker, 8, "prefetched", "r08.revoked", End("revoked"))
    late = End("expired", "Expired")
    aged = sent(worker, 9, "prefetched", "r09.expired", late, args=(1, 1), expires=1)
    worker.reserved(waiting.id)
    worker.reserved(aged.id)
    worker.revoke(waiting.id)
    expires = time.time() + 1.1
    while time.time() < expires:
        worker.reserved(waiting.id)
    stand.open(holding.id)
    return [holding, waiting, aged]


def terminated(stand: Stand, worker: Worker) -> list[Told]:
    """Rows 10 and 11: revoked while it runs."""
    tolds = []
    for row, task, number in (
        (10, "r10.term", signal.SIGTERM),
        (10, "r10.term_late", signal.SIGTERM),
        (11, "r11.kill", signal.SIGKILL),
        (11, "r11.kill_late", signal.SIGKILL),
    ):
        end = End("terminated", "Terminated", f"{number.name}|signal {int(number)}", most=14)
        told = sent(worker, row, task, task, end)
        stand.pid(told.id)
        worker.revoke(told.id, terminate=True, signal=number.name)
        tolds.append(told)
    return tolds


def limits(_stand: Stand, worker: Worker) -> list[Told]:
    """Rows 12 and 13."""
    soft = End("failure", "SoftTimeLimitExceeded", "SoftTimeLimitExceeded", least=1, most=3)
    hard = End("failure", "TimeLimitExceeded", "TimeLimitExceeded|[Tt]ime limit", least=1, most=4)
    return [
        sent(worker, 12, "soft limit", "r12.soft", soft),
        sent(worker, 12, "caught", "r12.caught", End("success", least=1, most=3)),
        sent(worker, 13, "hard limit", "r13.hard", hard),
        sent(worker, 13, "deaf to SIGTERM", "r13.deaf", hard),
    ]


def killed(stand: Stand, worker: Worker) -> list[Told]:
    """Row 14: its process is killed by itself, or as the kernel does it when memory is short."""
    broken = End("lost", "WorkerLostError", "signal 11|SIGSEGV", most=14)
    tolds = [
        sent(worker, 14, "SIGKILL, acks early", "r14.sigkill", KILLED),
        sent(worker, 14, "SIGKILL, acks late", "r14.sigkill_late", KILLED),
        sent(worker, 14, "SIGSEGV, acks early", "r14.sigsegv", broken),
        sent(worker, 14, "SIGSEGV, acks late", "r14.sigsegv_late", broken),
    ]
    oom = sent(worker, 14, "SIGKILL from outside (OOM)", "r14.oom", KILLED)
    os.kill(stand.pid(oom.id), signal.SIGKILL)
    return [*tolds, oom]


def lost(_stand: Stand, worker: Worker) -> list[Told]:
    """Rows 15 and 16: its process is killed and it runs again."""
    back = End("requeued", "WorkerLostError", LOST, most=14)
    again = End("retry", "WorkerLostError", LOST, most=14)
    return [
        sent(worker, 15, "goes back", "r15.lost", back, End("success", redelivered=True)),
        sent(worker, 16, "is sent again", "r16.lost", again, SUCCESS),
    ]


def left(_stand: Stand, worker: Worker) -> list[Told]:
    end = End("lost", "WorkerLostError", "exit ?code 3|exit status 3|SystemExit", most=14)
    return [sent(worker, 17, "sys.exit", "r17.exit", end)]


def unregistered(stand: Stand, worker: Worker) -> list[Told]:
    """Row 19: sent by name, since who publishes it does not know it either."""
    end = End("unregistered", "NotRegistered")
    since = time.time_ns()
    task_id = stand.call("by_name", "r19.unknown", 1, 2)
    return [
        Told(19, "unregistered", "r19.unknown", task_id, (end,), label="__unknown__", since=since)
    ]


def envelope(worker: Worker, body: bytes, task_id: str, headers: dict[str, Any], kind: str) -> None:
    """Put a message in the worker's queue past every client."""
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": kind,
        "headers": headers,
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "matrix"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    with worker.redis() as client:
        client.lpush("matrix", json.dumps(message))


def headers_of(task_id: str, parent: str) -> dict[str, Any]:
    return {
        "lang": "py",
        "task": "r20.add",
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "retries": 0,
        "argsrepr": "(1, 2)",
        "kwargsrepr": "{}",
        "origin": "gen1@elsewhere",
        "traceparent": f"00-{uuid.uuid4().hex}-{parent}-01",
    }


JSON = "application/json"
PICKLE = "application/x-python-serialize"
# What it is, its body and content type, the error's type and what is said of it.
BROKEN = (
    ("undecodable body", b"[[1, 2], {", JSON, "DecodeError", "Expecting"),
    ("body of another encoding", b"\xff\xfe[", JSON, "DecodeError", "codec"),
    ("refused content type", b"\x80\x04.", PICKLE, "ContentDisallowed", "pickle|disallowed"),
    ("unknown format", b'{"not": "a task"}', JSON, "InvalidTaskError", "no task"),
    ("body without arguments", b'"text"', JSON, "ValueError", "unpack"),
)


def unreadable(stand: Stand, _shared: Worker) -> list[Told]:
    """Row 20: what can't be read is kept, told and nobody's end."""
    worker = stand.worker("unreadable", "-c", "1")
    tolds = []
    for variant, body, kind, error, cause in BROKEN:
        task_id, parent = str(uuid.uuid4()), uuid.uuid4().hex[:16]
        headers = {} if variant == "unknown format" else headers_of(task_id, parent)
        end = End("quarantined", error, cause)
        told = Told(20, variant, "r20.add", task_id, (end,), since=time.time_ns())
        told.parent = bytes.fromhex(parent)
        if not headers:
            told.task, told.parent, told.id = "__unknown__", "none", ""
            told.spans = lambda seen: of_nobody(seen, "unreadable")
            told.lines = lambda seen: lines_of_nobody(seen, "unreadable")
        envelope(worker, body, task_id, headers, kind)
        tolds.append(told)
    return tolds


def of_nobody(seen: Seen, service: str) -> list[Any]:
    """The spans of a worker's messages that don't say which task they are."""
    return [s for s in seen.of_service(service) if not attributes(s).get("messaging.message.id")]


def lines_of_nobody(seen: Seen, service: str) -> list[dict[str, Any]]:
    return [line for line in seen.ends("") if line["service"] == service]
