"""Runs all rows at once and says which of their cells are true."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integration.outcomes import rows, shapes, stops
from tests.integration.outcomes.expect import CELLS, Problem, Told, counts, problems, table
from tests.integration.outcomes.seen import Seen
from tests.integration.outcomes.stand import Stand, Worker
from tests.support import POLL

TITLES = {
    1: "success",
    2: "failure",
    3: "retry and its next attempt",
    4: "Ignore",
    5: "Reject without requeue",
    6: "Reject with requeue",
    7: "revoked before arrival",
    8: "revoked while prefetched",
    9: "expired",
    10: "revoked while it ran, SIGTERM",
    11: "revoked while it ran, SIGKILL",
    12: "soft time limit",
    13: "hard time limit",
    14: "process killed",
    15: "reject_on_worker_lost",
    16: "retry_on_worker_lost",
    17: "sys.exit in a task",
    18: "MemoryError, poison",
    19: "unregistered",
    20: "unreadable message",
    21: "garbage in the queue",
    22: "publish failure",
    23: "warm stop",
    24: "cold stop",
    25: "main process killed",
    26: "result not stored",
    27: "recycled processes",
    28: "errbacks, chord that failed",
    29: "shapes of traces",
    30: "redelivery",
}
Row = Callable[[Stand, Worker], list[Told]]
# Those with a worker of their own first: they take longest. With each, the rows that it serves.
ROWS: tuple[tuple[Row, tuple[int, ...]], ...] = (
    (stops.poison, (18,)),
    (stops.redelivered, (30,)),
    (stops.main_killed, (25,)),
    (stops.cold, (24,)),
    (stops.recycled, (27,)),
    (rows.held_back, (8, 9)),
    (stops.results, (26,)),
    (stops.warm, (23,)),
    (stops.memory, (18,)),
    (stops.garbage, (21,)),
    (rows.unreadable, (20,)),
    (shapes.ticks, (29,)),
    (rows.killed, (14,)),
    (rows.lost, (15, 16)),
    (rows.left, (17,)),
    (rows.terminated, (10, 11)),
    (rows.limits, (12, 13)),
    (rows.success, (1,)),
    (rows.failure, (2,)),
    (rows.retry, (3,)),
    (rows.ignore, (4,)),
    (rows.reject, (5,)),
    (rows.requeue, (6,)),
    (rows.revoked, (7,)),
    (rows.expired, (9,)),
    (rows.unregistered, (19,)),
    (stops.unsendable, (22,)),
    (shapes.callbacks, (28,)),
    (shapes.timed, (29,)),
    (shapes.called, (29,)),
    (shapes.workflows, (29,)),
    (shapes.replaced, (29,)),
)
PREFORK = ("-c", "4")
SHOW_UP = 60.0  # seconds in which everything is told once all rows have been provoked


class Result:
    """What is wrong in each row, and the tasks that were looked at."""

    def __init__(self) -> None:
        self.tolds: list[Told] = []
        self.wrong: dict[int, list[Problem]] = {}
        # What telemetry itself has complained of.
        self.complaints: list[str] = []

    def add(self, row: int, variant: str, problem: Problem) -> None:
        named = problem._replace(text=f"{variant}: {problem.text}")
        self.wrong.setdefault(row, []).append(named)

    def told(self) -> str:
        looked_at = {told.row for told in self.tolds} | set(self.wrong)
        titles = {row: TITLES[row] for row in looked_at}
        lines = [table(titles, self.wrong), ""]
        for row, found in sorted(self.wrong.items()):
            lines += [f"{row} {TITLES[row]}: {x.cell}: {x.text}" for x in dict.fromkeys(found)]
        return "\n".join([*lines, *self.complaints])


def choose(numbers: Iterable[int]) -> list[tuple[Row, tuple[int, ...]]]:
    """The functions that serve these rows, or all."""
    wanted = set(numbers) or set(TITLES)
    return [(row, served) for row, served in ROWS if wanted & set(served)]


def run(
    folder: Path,
    picked: list[tuple[Row, tuple[int, ...]]],
    *options: str,
    broker: str = "",
    **env: str,
) -> Result:
    """Run rows, each in a thread, and look when all is over; the shared worker has `options`."""
    result = Result()
    with Stand(folder) as stand:
        shared = stand.worker("shared", *options, broker=broker or stand.broker, **env)
        with ThreadPoolExecutor(len(picked)) as pool:
            futures = {pool.submit(row, stand, shared): numbers for row, numbers in picked}
        for future, numbers in futures.items():
            error = future.exception()
            if error is None:
                result.tolds += future.result()
                continue
            text = "".join(traceback.format_exception(error))
            for number in numbers:
                for cell in CELLS:
                    result.add(
                        number, "not provoked", Problem(cell, text if cell == "span" else "")
                    )
        _wait(stand, result.tolds)
        seen = stand.finish()
    result.complaints = list(_complaints(seen))
    for told in result.tolds:
        try:
            found = list(problems(told, seen))
        except (ValueError, LookupError) as error:
            # A check looks for what isn't there.
            found = [Problem("span", repr(error))]
        for problem in found:
            result.add(told.row, told.variant, problem)
    for told, problem in counts(result.tolds, seen):
        result.add(told.row, told.variant, problem)
    return result


def _complaints(seen: Seen) -> Iterator[str]:
    if errors := seen.total("telemetry_errors_total"):
        yield f"{errors} errors inside telemetry"
    for line in seen.lines:
        if line["event"] == "telemetry.error" or line["event"].startswith("Signal handler"):
            yield str(line)[:1000]


def _wait(stand: Stand, tolds: list[Told]) -> None:
    """Until as much has shown up as is to be, or it is late."""
    end = time.monotonic() + SHOW_UP
    while time.monotonic() < end:
        seen = stand.look()
        if all(told.complete(seen) for told in tolds):
            return
        time.sleep(10 * POLL)
