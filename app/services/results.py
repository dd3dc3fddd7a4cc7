"""Celery's Redis result backend, without the subscription that each publish would make.

It also keeps which tasks were cancelled, beside their states, so that both change in one step.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from celery.exceptions import TaskRevokedError
from kombu.utils.encoding import bytes_to_str
from redis.exceptions import OutOfMemoryError

from app.services.broker import is_in_task

CANCELLED = "cancelled-tasks"  # a sorted set of ids, by the time until which they are kept
ANSWER_SECONDS = 10  # that a worker's answer to nobody is kept
AT_ONCE = 1000  # keys in one request

# A cancelled task doesn't start; once it is revoked, only a run that ended well says more.
STORE = """
local stored = redis.call('GET', KEYS[1])
local state = stored and string.match(stored, '^{"status": "([^"]+)"')
if ARGV[4] == 'REVOKED' then
  if state == 'SUCCESS' then
    return 1
  end
elseif ARGV[4] == 'STARTED' or state == 'REVOKED' then
  if redis.call('ZSCORE', KEYS[2], ARGV[1]) then
    return 1
  end
end
redis.call('SETEX', KEYS[1], ARGV[3], ARGV[2])
redis.call('PUBLISH', KEYS[1], ARGV[2])
return 0
"""
CANCEL = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
local before = {}
for number = 2, #KEYS do
  local id, revoked = ARGV[2 * number], ARGV[2 * number + 1]
  local stored = redis.call('GET', KEYS[number])
  local state = stored and (string.match(stored, '^{"status": "([^"]+)"') or 'UNKNOWN') or 'PENDING'
  if state ~= 'SUCCESS' and state ~= 'FAILURE' and state ~= 'REVOKED' then
    redis.call('ZADD', KEYS[1], ARGV[2], id)
    if state == 'PENDING' or state == 'RECEIVED' or state == 'RETRY' then
      redis.call('SETEX', KEYS[number], ARGV[3], revoked)
      redis.call('PUBLISH', KEYS[number], revoked)
    end
  end
  before[number - 1] = state
end
return before
"""


class Results(RedisBackend):
    """Results are read when asked for; publishing opens no pub/sub connection that could hang."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A task that has run waits for a full Redis as it does for one that is away.
        errors: tuple[type[Exception], ...] = self.connection_errors  # type: ignore[has-type]
        self.connection_errors = (*errors, OutOfMemoryError)
        # Tasks that this process was about to start, and may not.
        self._refused: set[str] = set()

    def ensure(self, fun: Any, args: Any, **policy: Any) -> Any:
        if not is_in_task():
            policy["max_retries"] = 0
        return super().ensure(fun, args, **policy)

    def _ensure_retryable(self, *args: Any, **kwargs: Any) -> Any:
        if not is_in_task():
            kwargs["max_retries"] = 0
        return super()._ensure_retryable(*args, **kwargs)

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        if state == states.SUCCESS:
            return super()._set_with_state(key, value, state)
        if state == states.STARTED:
            # Not worth waiting for a full Redis, which may still give what is queued.
            with contextlib.suppress(OutOfMemoryError):
                self._start(key, value)
            return None
        if state == states.RETRY and not is_in_task():
            # The retry is sent; failing here would send it twice.
            with contextlib.suppress(*self.connection_errors):
                return self.ensure(self._store, (key, value, state))
        return self.ensure(self._store, (key, value, state))

    def _start(self, key: Any, value: Any) -> None:
        if not self._store(key, value, states.STARTED):
            self._refused.add(self._id(key))

    def _store(self, key: Any, value: Any, state: str) -> bool:
        script = self.client.register_script(STORE)
        arguments = [self._id(key), value, self._seconds(), state]
        return not script(keys=[key, CANCELLED], args=arguments)

    def may_not_run(self, task_id: str | None) -> bool:
        """Whether the task that this process was just about to start was cancelled before."""
        if task_id not in self._refused:
            return False
        self._refused.discard(task_id)
        return True

    def note_received(self, task_id: str) -> None:
        """Store that a worker holds a task of which nothing is known yet; never waits or raises."""
        meta = self._get_result_meta(None, states.RECEIVED, None, None)
        value = self.encode({**meta, "task_id": task_id})
        with contextlib.suppress(*self.connection_errors):
            key = self.get_key_for_task(task_id)
            self.client.set(key, value, nx=True, ex=self._seconds())

    def cancel(self, ids: Sequence[str], seconds: float) -> list[str]:
        """Let none of these start, for so many seconds; gives the state of each before.

        What waits is revoked at once, what runs is left to its worker, what has ended stays.
        """
        script = self.client.register_script(CANCEL)
        now = time.time()
        before: list[Any] = []
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            keys = [CANCELLED, *map(self.get_key_for_task, some)]
            pairs = [part for each in some for part in (each, self._revoked(each))]
            before += script(keys=keys, args=[now, now + seconds, self._seconds(), *pairs])
        return [bytes_to_str(state) for state in before]

    def cancelled(self) -> list[str]:
        """All tasks that must not start."""
        found = self.client.zrangebyscore(CANCELLED, time.time(), "+inf")
        return [bytes_to_str(each) for each in found]

    def _revoked(self, task_id: str) -> Any:
        revoked = self.prepare_exception(TaskRevokedError("revoked"))
        meta = self._get_result_meta(revoked, states.REVOKED, None, None)
        return self.encode({**meta, "task_id": task_id})

    def answer(self, ticket: str, document: dict[str, Any]) -> None:
        """Leave an answer for who waits for it by `ticket`."""
        key = f"answers-{ticket}"
        with self.client.pipeline() as pipe:
            pipe.rpush(key, json.dumps(document))
            pipe.expire(key, ANSWER_SECONDS)
            pipe.execute()

    def next_answer(self, ticket: str, seconds: float) -> dict[str, Any] | None:
        """Wait up to so many seconds for an answer."""
        found = self.client.blpop([f"answers-{ticket}"], timeout=seconds)
        document: dict[str, Any] | None = json.loads(found[1]) if found else None
        return document

    def _id(self, key: Any) -> str:
        return bytes_to_str(key)[len(bytes_to_str(self.task_keyprefix)) :]

    def _seconds(self) -> int:
        # The settings allow no other.
        return int(self.expires)

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Do nothing: `get()` on a result still subscribes by itself."""

    def ping(self) -> None:
        """Raise a RedisError unless the server answers."""
        self.client.ping()
