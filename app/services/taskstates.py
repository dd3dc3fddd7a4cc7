"""The states of tasks as the result backend has them, many in one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery import states
from flask import current_app

AT_ONCE = 1000  # keys in one request


def read(ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is stored of each task: its `status` and `result` among others, PENDING if nothing is.

    Raises UnreachableError.
    """
    backend = current_app.extensions["celery"].backend
    found: dict[str, dict[str, Any]] = {}
    with current_app.extensions["breakers"]["result backend"]():
        for start in range(0, len(ids), AT_ONCE):
            found |= _read(backend, ids[start : start + AT_ONCE])
    return found


def _read(backend: Any, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    keys = [backend.get_key_for_task(each) for each in ids]
    values = backend.mget(keys)
    if isinstance(values, dict):
        # The memory has no order.
        values = [values.get(key) for key in keys]
    return {each: _meta(backend, value) for each, value in zip(ids, values, strict=True)}


def _meta(backend: Any, value: Any) -> dict[str, Any]:
    if not value:
        return {"status": states.PENDING, "result": None}
    meta: dict[str, Any] = backend.decode_result(value)
    return meta
