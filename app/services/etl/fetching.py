"""Gets what a source holds, whole and within a size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.models.sources import Source as Kinds
from app.services import external, files, http_client
from app.services.etl import reading
from app.services.etl.options import SAMPLES, Options
from app.services.etl.reading import Row
from app.services.failures import JobFailedError
from app.services.files import OutsideError
from app.services.http_client import Call

if TYPE_CHECKING:
    from app.services.etl.sources import Source
    from app.settings import Settings

SAMPLES_DIR = Path(__file__).resolve().parents[2] / "samples"
TIMEOUT = 30.0  # seconds for all of an answer


def rows(source: Source, options: Options, settings: Settings, attempt: int = 0) -> Iterator[Row]:
    """All rows of a source.

    Raises UnavailableError if a later try may do, else RefusedError or JobFailedError.
    """
    if source.kind == Kinds.FILE:
        content = _of_file(source.location, options, settings)
    else:
        content = _of_address(source.location, settings, attempt)
    if _is_json(source):
        return reading.from_json(content, options.list)
    return reading.from_csv(content)


def _is_json(source: Source) -> bool:
    if source.kind == Kinds.FILE:
        return source.location.lower().endswith(".json")
    return source.kind == Kinds.HTTP_JSON


def _of_file(location: str, options: Options, settings: Settings) -> bytes:
    folder = SAMPLES_DIR if options.folder == SAMPLES else settings.import_dir
    try:
        path = files.find(folder, location)
    except OutsideError:
        raise JobFailedError(f"{location}: Is no file in the {options.folder} folder.") from None
    with path.open("rb") as file:
        content = file.read(settings.source_max_bytes + 1)
    if len(content) > settings.source_max_bytes:
        raise _too_long(settings)
    return content


def _of_address(location: str, settings: Settings, attempt: int) -> bytes:
    url, allowed = address(location, settings.service_url), settings.outgoing_allowed
    if url != location:
        # The service itself, wherever its settings say that it listens.
        allowed = (*allowed, urlsplit(url).hostname or "")
    call = Call("GET", url, TIMEOUT, attempt=attempt, limit=settings.source_max_bytes)
    answer = http_client.send(call, replace(settings, outgoing_allowed=allowed))
    external.raise_for(answer)
    if not answer.complete:
        raise _too_long(settings)
    return answer.body


def address(location: str, service_url: str) -> str:
    """The address that a location means; a path is one of this service."""
    return service_url.rstrip("/") + location if location.startswith("/") else location


def _too_long(settings: Settings) -> JobFailedError:
    limit = settings.source_max_bytes
    return JobFailedError(f"It is longer than {limit} bytes; SOURCE_MAX_BYTES sets the limit.")
