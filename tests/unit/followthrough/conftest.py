from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from followthrough.testing import Captured, capture


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Captured]:
    """All that the kit tells in a test: spans, lines, metrics; its own errors are raised."""
    with capture(tmp_path / "state") as captured:
        yield captured
