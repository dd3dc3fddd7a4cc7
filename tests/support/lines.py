"""For tests of log lines."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

from followthrough.logs import stdlib


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Without pytest's own handlers, which are to have each line too."""
    with pytest.MonkeyPatch.context() as patch:
        root = logging.getLogger()
        ours = [each for each in root.handlers if isinstance(each, stdlib.Handler)]
        patch.setattr(root, "handlers", ours)
        yield
