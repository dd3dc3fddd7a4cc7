"""What stands before each record of a resource and scope, encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import encode, record

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    Origin = tuple[Resource, InstrumentationScope | None]

_MOST = 1024


class Prefixes:
    """Finds the prefix of a record; a program that makes up scopes can't fill the memory."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int, bytes], tuple[Origin, bytes]] = {}

    def of(self, resource: Resource, scope: InstrumentationScope | None, kind: bytes) -> bytes:
        """The prefix, by which objects they are: to compare what they hold costs more."""
        key = (id(resource), id(scope), kind)
        found = self._found.get(key)
        return found[1] if found is not None else self._made(key, resource, scope)

    def _made(
        self,
        key: tuple[int, int, bytes],
        resource: Resource,
        scope: InstrumentationScope | None,
    ) -> bytes:
        if len(self._found) >= _MOST:
            self._found.clear()
        prefix = record.prefix(encode.resource(resource), encode.scope(scope), key[2])
        # Both are kept, so that no other object gets their ids.
        self._found[key] = ((resource, scope), prefix)
        return prefix
