"""Takes every source that is enabled through its steps, each on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from app.services.etl import pipeline, sources
from app.services.etl.sources import Source
from app.services.failures import JobFailedError
from app.services.http_client import RefusedError, UnavailableError

logger = logging.getLogger(__name__)

FAILURES = (UnavailableError, RefusedError, JobFailedError)

Result = dict[str, Any]


def every(run_id: Callable[[Source], str]) -> dict[str, Result]:
    """What came of each source, by its name; `run_id` names the run of one.

    A source that fails stops no other. A run that was made before gives what it gave then.
    """
    results = {each.name: _one(each, run_id(each)) for each in sources.enabled()}
    failed = [name for name, result in results.items() if result["status"] == "failed"]
    if failed:
        level = logging.ERROR if len(failed) == len(results) else logging.WARNING
        logger.log(level, "%d of %d sources failed: %s", len(failed), len(results), failed)
    return results


def _one(source: Source, run_id: str) -> Result:
    try:
        return {"status": "success", "records": pipeline.sync(source.id, run_id)}
    except FAILURES as error:
        return {"status": "failed", "error": str(error)}
