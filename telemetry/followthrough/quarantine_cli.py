"""`followthrough quarantine`: look at messages that no worker could run, send or remove them."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from . import attempts, quarantine
from .quarantine import Item, QuarantineError
from .settings import MASK

if TYPE_CHECKING:
    from pathlib import Path

WRONG = 2
BROKER = "CELERY_BROKER_URL"
# What kombu and we write in a password's place.
_MASKED = (":**@", f":{MASK}@")
_COLUMNS = ("ID", "WHEN (UTC)", "WHY", "QUEUE", "TASK", "TASK ID", "ERROR")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("quarantine", help="messages that no worker could run")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="a line for each message, oldest first")
    for name, text in (
        ("show", "all that is known of one, secrets masked"),
        ("requeue", "send one to its queue again, as it was"),
        ("drop", "remove one for good"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("id", metavar="ID", help="its id, or the beginning or end of it")
        if name == "requeue":
            action.add_argument(
                "--broker", metavar="URL", help=f"where to send it; default: {BROKER}"
            )


def run(state_dir: Path, arguments: argparse.Namespace) -> int:
    """Run one action; the exit code, 2 where it can't be done, which stderr says why."""
    try:
        text = _ACTIONS[arguments.action](state_dir, arguments)
    except (OSError, QuarantineError) as error:
        sys.stderr.write(f"followthrough quarantine: {error}\n")
        return WRONG
    sys.stdout.write(text)
    return 0


def _list(state_dir: Path, _arguments: argparse.Namespace) -> str:
    items = quarantine.items(state_dir)
    if not items:
        return f"nothing in {quarantine.folder(state_dir)}\n"
    table = [_COLUMNS, *map(_row, items)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])
        for row in table
    ]
    return "\n".join([*lines, ""])


def _row(item: Item) -> tuple[str, ...]:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(item.at))
    texts = (item.id, when, item.reason, item.queue, item.task, item.task_id, item.error)
    # A message may say anything, also what moves a terminal's cursor.
    return tuple("".join(c if c.isprintable() else "?" for c in text)[:200] for text in texts)


def _show(state_dir: Path, arguments: argparse.Namespace) -> str:
    item = quarantine.find(state_dir, arguments.id)
    return json.dumps(quarantine.shown(item), indent=2) + "\n"


def _drop(state_dir: Path, arguments: argparse.Namespace) -> str:
    item = quarantine.find(state_dir, arguments.id)
    quarantine.drop(state_dir, item)
    return f"dropped {item.id}\n"


def _requeue(state_dir: Path, arguments: argparse.Namespace) -> str:
    item = quarantine.find(state_dir, arguments.id)
    _check(item)
    url = _broker(item, arguments.broker)
    from .celery import requeue  # noqa: PLC0415  the other actions need no Celery

    requeue.send(item, url)
    # Its deaths are counted anew, or it would come back after the first.
    attempts.forget(state_dir, item.task_id)
    quarantine.drop(state_dir, item)
    return f"sent {item.id} to the queue {item.queue}\n"


def _check(item: Item) -> None:
    if not item.is_whole:
        raise QuarantineError(
            f"{item.id} had {item.size} bytes, of which {len(item.payload)} were kept; "
            "let its sender send it again, and drop this"
        )
    if not item.queue:
        raise QuarantineError(f"{item.id} does not say which queue it came from; drop it")


def _broker(item: Item, given: str | None) -> str:
    url = given or os.environ.get(BROKER) or item.broker
    if not url or any(mask in url for mask in _MASKED):
        raise QuarantineError(
            f"the broker's address is kept without its password; set {BROKER}, or give --broker URL"
        )
    return url


_ACTIONS = {"list": _list, "show": _show, "drop": _drop, "requeue": _requeue}
