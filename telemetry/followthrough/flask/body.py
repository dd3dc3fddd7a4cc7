"""The answer's body on its way to the server: the request ends with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response
from werkzeug.wrappers import response as werkzeug_response
from werkzeug.wsgi import ClosingIterator

from .. import guard
from ..tracing.current import attach, reset

if TYPE_CHECKING:
    from .request import Request


class Body:
    """Hands chunks over; what makes them runs within the request, as the view did."""

    __slots__ = ("_chunks", "_left", "_next", "_request")

    def __init__(self, request: Request, chunks: Iterable[bytes], length: int | None) -> None:
        self._request, self._chunks, self._left = request, chunks, length
        self._next = iter(chunks).__next__

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        request = self._request
        # Also after the last byte: what an iterator of others attaches, it detaches as it ends.
        token = attach(request.context)
        try:
            chunk = self._next()
        except StopIteration:
            if not request.ended:
                request.end()
            raise
        except BaseException as error:
            request.break_off(error)
            raise
        finally:
            reset(token)
        if self._left is not None:
            self._left -= len(chunk)
            if self._left <= 0:
                request.end()
        return chunk

    def close(self) -> None:
        """Close the application's body; before its end, the caller has gone away."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            token = attach(self._request.context)
            try:
                close()
            except BaseException as error:
                self._request.break_off(error)
                raise
            finally:
                reset(token)
        if not self._request.ended:
            self._request.break_off(disconnected=True)


def is_whole(body: Any) -> bool:
    """Whether it is in memory, in one piece, and nothing of the host runs as it is sent or closed.

    As most are: werkzeug's own iterator, of an answer's own content, which it closes.
    """
    if body.__class__ is not _Iterator:
        return False
    try:
        chunks, close = body._callbacks  # noqa: SLF001  without these parts it is followed
        response = close.__self__
        content = response.response
        return (
            close.__func__ is _close
            and chunks.__self__.gi_code is _encoded
            and not response._on_close  # noqa: SLF001
            and content.__class__ is list
            and len(content) <= 1
        )
    except Exception as error:
        if guard.is_hosts(error):
            raise
        # It is of another make.
        return False


_Iterator: Any = ClosingIterator
_close = Response.close
_encoded = getattr(getattr(werkzeug_response, "_iter_encoded", None), "__code__", None)


def is_file(body: object, environ: Mapping[str, Any]) -> bool:
    """Whether the server sends this body by itself, as it would no other."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)
