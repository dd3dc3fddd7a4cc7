"""Tasks that send others in each way that Celery knows, run by the kit's integration tests."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chain, chord, group

import followthrough

followthrough.configure("shapes")
url = os.environ["KIT_BROKER"]
celery = Celery("shapes", broker=url, backend=url)
celery.conf.update(
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": 3600},
)
followthrough.instrument_celery()


@celery.task(name="shape.leaf", trace_args=("name", "password"))
def leaf(name: str = "", password: str = "") -> str:
    return name


@celery.task(name="shape.broken")
def broken() -> None:
    raise ValueError("token=abcdefgh12")


@celery.task(name="shape.expected", throws=(KeyError,))
def expected() -> None:
    raise KeyError("nothing to worry about")


@celery.task(name="shape.retried", bind=True, max_retries=2)
def retried(self: Any) -> str:
    if self.request.retries < 2:
        raise self.retry(exc=KeyError("not yet"), countdown=0.1)
    return "done"


@celery.task(name="shape.body")
def body(results: list[Any]) -> int:
    return len(results)


@celery.task(name="shape.joined", bind=True)
def joined(self: Any) -> str:
    self.add_to_chord(leaf.si("added"))
    return "joined"


@celery.task(name="shape.replaced", bind=True)
def replaced(self: Any) -> Any:
    return self.replace(leaf.si("instead"))


@celery.task(name="shape.errback")
def errback(task_id: str) -> None:
    """Sent as a task: it takes one argument."""


@celery.task(name="shape.inline")
def inline(request: Any, error: Any, traceback: Any) -> None:
    """Called as a function where the task failed: it takes three."""


@celery.task(name="shape.unencodable")
def unencodable() -> Any:
    return object()


SHAPES = {
    "chain": lambda: chain(leaf.si("a"), leaf.si("b"), leaf.si("c")),
    "group": lambda: group(leaf.si(str(n)) for n in range(3)),
    "chord": lambda: chord([leaf.si(str(n)) for n in range(4)], body.s()),
    "added": lambda: chord([joined.si(), leaf.si("b")], body.s()),
    "replace": replaced.si,
    "retry": retried.si,
    "broken chord": lambda: chord([leaf.si("a"), broken.si()], body.s()),
    "callback": lambda: leaf.si("a").set(link=leaf.si("called back")),
    "errbacks": lambda: broken.si().set(link_error=[errback.s(), inline.s()]),
    "starmap": lambda: leaf.starmap([("a", "s3cret-word"), ("b", "")]),
    "arguments": lambda: leaf.s("ada", password="hunter2-long"),
    "fan": lambda: group(leaf.si(str(n)) for n in range(8)),
    "eta": lambda: leaf.si("later").set(countdown=1),
    "expected": expected.si,
    "unencodable": unencodable.si,
}


@celery.task(name="shape.start")
def start(shape: str) -> str:
    return str(SHAPES[shape]().apply_async().id)


@celery.task(name="shape.eager")
def eager() -> None:
    leaf.apply(args=["eager"])
