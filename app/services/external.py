"""What another service's answer means to a task that called it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from app.services import http_client
from app.services.failures import JobFailedError
from app.services.http_client import Answer, Call, UnavailableError

if TYPE_CHECKING:
    from app.settings import Settings

TIMEOUT = 30.0  # seconds for a whole call
LONGEST_PAUSE = 600  # seconds between two tries
DEEPEST = 50  # levels of a JSON answer that is kept as such
TOO_MANY_REQUESTS = 429


def post(endpoint: str, payload: Any, key: str, settings: Settings, attempt: int = 0) -> Any:
    """Post `payload` as JSON; gives the answer's JSON.

    `key` is the same each time, so that the service can tell a repeated call. Raises
    UnavailableError if a later try may do, else JobFailedError or RefusedError.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    body = json.dumps(payload).encode()
    answer = http_client.send(Call("POST", endpoint, TIMEOUT, body, headers, attempt), settings)
    raise_for(answer)
    return data(answer)


def raise_for(answer: Answer) -> None:
    """Raise what a status other than 2xx means."""
    if 200 <= answer.status < 300:  # noqa: PLR2004
        return
    if answer.status == TOO_MANY_REQUESTS or answer.status >= 500:  # noqa: PLR2004
        raise UnavailableError(f"HTTP {answer.status}", answer.status, answer.retry_after)
    raise JobFailedError(f"HTTP {answer.status}")


def data(answer: Answer) -> Any:
    """The answer as a task's result: its JSON, or its text if it's none; None if it's empty."""
    if not answer.complete:
        size = len(answer.body)
        raise JobFailedError(f"The answer is longer than {size} bytes.")
    text = _text(answer)
    try:
        value = json.loads(text, parse_constant=_refuse) if text else None
    except (ValueError, RecursionError):
        return text
    return text if unfit(value) else value


def pause(chance: float, retry_after: float) -> float:
    """Seconds to wait when the service has said for how long.

    `chance` (0 to 1) adds up to a tenth, so that its callers don't all come back at once.
    """
    return min(LONGEST_PAUSE, retry_after * (1 + chance / 10))


def unfit(value: Any) -> str | None:
    """Why a parsed document can't be sent or kept as JSON, if so."""
    if _depth(value) > DEEPEST:
        return f"Is nested deeper than {DEEPEST} levels."
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return "Holds a number that is too large."
    return None


def _depth(value: Any) -> int:
    levels, level = 0, [value]
    while level := [each for each in level if isinstance(each, (dict, list))]:
        levels += 1
        level = [
            inner for each in level for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return levels


def _text(answer: Answer) -> str:
    try:
        return answer.body.decode(answer.encoding, errors="replace")
    except LookupError:
        return answer.body.decode(errors="replace")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
