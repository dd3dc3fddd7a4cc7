"""How a workflow is doing, from the states of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celery import states

PROGRESS = "PROGRESS"
ENDED = frozenset({states.SUCCESS, states.FAILURE, states.REVOKED})
UNTOUCHED = frozenset({states.PENDING, states.RECEIVED})


@dataclass(frozen=True)
class Member:
    """A task of a workflow; `parent_id` is the task or group whose result it takes."""

    id: str
    name: str
    state: str
    parent_id: str | None = None


def state(members: Sequence[Member], root_id: str) -> str:
    """The state of the whole; `root_id` is its last task, or its group's own id.

    The last task's end is the whole's. Before it, the first failure or cancelling is: what comes
    after it can't run any more. A group has no last task: it ends when all its members have ended.
    """
    found = {member.id: member.state for member in members}
    last, all_states = found.get(root_id), set(found.values())
    if last in ENDED:
        return str(last)
    if last is not None or all_states <= ENDED:
        for end in (states.FAILURE, states.REVOKED):
            if end in all_states:
                return end
    if all_states == {states.SUCCESS}:
        return states.SUCCESS
    return states.PENDING if all_states <= UNTOUCHED else PROGRESS


def progress(members: Sequence[Member]) -> dict[str, int]:
    """How many members have succeeded, of how many, and in percent."""
    done = sum(member.state == states.SUCCESS for member in members)
    return {"current": done, "total": len(members), "percent": 100 * done // len(members)}


def failures(members: Sequence[Member]) -> list[Member]:
    """The members that failed themselves, and not since what they wait for did.

    A failed chain stores its error at all that would have come after.
    """
    found: Mapping[str | None, str] = {member.id: member.state for member in members}
    failed = [member for member in members if member.state == states.FAILURE]
    return [each for each in failed if found.get(each.parent_id) in (None, states.SUCCESS)]
