"""Which tasks a signature is made of, once it is frozen."""

from __future__ import annotations

from typing import Any

from celery import Signature, chord, group
from celery.canvas import _chain
from celery.result import GroupResult


def task_ids(result: Any) -> dict[str, str | None]:
    """The ids of all tasks behind a result, each after those it waits for, with its parent's id.

    A group's own id is none of them, nothing runs under it; it may be a parent's.
    """
    ids: dict[str, str | None] = {}
    seen: set[str] = set()
    waiting = [(result, False)]
    while waiting:
        node, comes_next = waiting.pop()
        is_group = isinstance(node, GroupResult)
        if comes_next:
            ids |= {} if is_group else {node.id: node.parent.id if node.parent else None}
        elif node.id not in seen:
            seen.add(node.id)
            before = [node.parent, *(node.results if is_group else ())]
            waiting.append((node, True))
            waiting += [(each, False) for each in reversed(before) if each is not None]
    return ids


def names(signature: Signature) -> dict[str, str]:
    """The name of each task of a frozen signature, by its id."""
    found: dict[str, str] = {}
    waiting = [signature]
    while waiting:
        node = waiting.pop()
        parts = _parts(node)
        waiting += parts
        if not parts and "task_id" in node.options:
            found[node.options["task_id"]] = str(node.task)
    return found


def _parts(node: Signature) -> list[Any]:
    if isinstance(node, _chain):
        # Freezing flattens a chain, and makes chords of what follows a group.
        return list(node._frozen[0] if node._frozen else node.tasks)  # noqa: SLF001
    if isinstance(node, chord):
        return [*_parts(node.tasks), node.body]
    return list(node.tasks) if isinstance(node, group) else []


def keep_ids_apart(signature: Signature) -> None:
    """Let each task keep the id that freezing gave it where tasks run at once, in this process.

    There a chain would run all its tasks under its own id, which is that of its last one.
    """
    waiting = [signature]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _chain):
            node.options.pop("task_id", None)
        waiting += [node.tasks, node.body] if isinstance(node, chord) else _parts(node)
