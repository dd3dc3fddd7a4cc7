"""Writes docs/outcomes.md and docs/names.md from the kit's tables: python docs/generate.py."""

from __future__ import annotations

import re
from pathlib import Path

from followthrough import names
from followthrough.outcome import REQUEST_TELLING, TELLING, RequestKind

HOME = Path(__file__).parent
MARKS = ("<!-- bench.outcomes -->\n", "<!-- end of bench.outcomes -->\n")
_NAME = re.compile(r'[A-Z_]+ = "(?P<name>[^"]+)"  # (?P<meaning>.+)')

OUTCOMES = """\
# How a task ends

Whatever ends a task, one span, one log line and one count say the same. Made from
`followthrough/outcome.py` by `python docs/generate.py`; edit there. `make test`
proves it on real processes (`tests/integration/outcomes/`); what differs on other pools, brokers
and servers is in [pools.md](pools.md).

`outcome` is the metrics' label, the log's field and, as `celery.outcome`, the span's attribute.
`error.type` is the exception's class where there is one, else what stands here. A span's status is
error only where nothing further is going to do the work. A critical task alerts where it says so.

| outcome | meaning | span status | `error.type` | log event | level | alerts |
|---|---|---|---|---|---|---|
"""

NAMES = """\
# Names

What spans and log lines are made of. Made from `followthrough/names.py` by
`python docs/generate.py`; edit there. Spans are named `{method} {route}`, `send {task}` and
`process {task}`.
"""


REQUESTS = """
# How a request ends

Its span, the log line `request.finished` and its count say the same, whether it was answered,
raised, streamed or was killed. `error.type` is the exception's class, or the status where none is
known. Excluded URLs are not told at all.

| outcome | meaning | span status | level |
|---|---|---|---|
"""

OTHERS = """
# What other tracers make of it

`make bench-outcomes` ends tasks in each of these ways, in a worker of its own with each kit that
README's table compares, and reads the spans that come out. `yes`: each run has one span, with an
error where it failed and none where it did not (what was rejected, revoked or expired may have
either); `no span`: none came; `as success`: one came without an error, though the task failed;
`as failure`: the reverse; `n of m`, `n spans`: too few, or too many. The last row says whether the
worker outlives what is no message at all.

"""


def outcomes() -> str:
    """The text of outcomes.md, with the measured table that stands there now."""
    return (
        OUTCOMES
        + "".join(_outcome(kind) for kind in TELLING)
        + REQUESTS
        + "".join(_request(kind) for kind in REQUEST_TELLING)
        + OTHERS
        + measured((HOME / "outcomes.md").read_text())
    )


def measured(page: str) -> str:
    """The table of `make bench-outcomes` between its marks, as a page has it."""
    begin, end = MARKS
    return begin + page.partition(begin)[2].partition(end)[0] + end


def _request(kind: RequestKind) -> str:
    telling = REQUEST_TELLING[kind]
    status = "error" if telling.is_error else "unset"
    return f"| `{kind}` | {telling.meaning} | {status} | {telling.level} |\n"


def _outcome(kind: str) -> str:
    telling = TELLING[kind]  # type: ignore[index]
    cells = [
        f"`{kind}`",
        telling.meaning,
        "error" if telling.is_error else "unset",
        f"`{telling.error_type}`" if telling.error_type else "",
        f"`{telling.event}`",
        telling.level,
        "yes" if telling.alertable else "",
    ]
    return f"| {' | '.join(cells)} |\n"


def catalogue() -> str:
    """The text of names.md."""
    lines = [NAMES]
    for line in Path(names.__file__).read_text().splitlines():
        if line.startswith("# ## "):
            lines.append(f"\n## {line.removeprefix('# ## ')}\n\n| name | meaning |\n|---|---|\n")
        elif found := _NAME.fullmatch(line):
            lines.append(f"| `{found['name']}` | {found['meaning']} |\n")
    return "".join(lines)


def main() -> None:
    (HOME / "outcomes.md").write_text(outcomes())
    (HOME / "names.md").write_text(catalogue())


if __name__ == "__main__":
    main()
