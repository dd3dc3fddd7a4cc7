"""A record on its way into a ring, and where its span stands until it is there."""

from __future__ import annotations

KEPT = "kept"


class Place:
    """A place in the table of what is under way in this process (`inflight`)."""

    __slots__ = ("body", "free", "number", "words")

    def __init__(self, number: int, words: memoryview, body: memoryview, free: list[Place]) -> None:
        self.number = number
        # The record's checksum and length, 0 where there is none; and where the ring's head is once
        # the span has ended, 0 until then.
        self.words = words
        self.body = body
        # Where it goes back to.
        self.free = free


class Pending:
    """A record that a ring takes once, however often it is put in; a light span is one itself.

    Neither a signal's handler nor another thread comes in between two calls. So what must go
    together is done without a call in between, and no lock is needed, which a handler or a fork
    could meet in the middle. (Before Python 3.12 not even an object may be made there that the
    garbage collector tracks, as a slice is.)
    """

    payload = b""
    # Where its span stands in case its process is killed, if it does.
    place: Place | None = None
    # KEPT, or why it was dropped.
    fate = ""
    # Whether it is counted where it is dropped.
    is_counted = True

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload

    def leave(self) -> None:
        """Give the place up, if there is one; may be said twice."""
        place = self.place
        if place is not None:
            self.place = None
            place.words[0] = 0
            place.free.append(place)
