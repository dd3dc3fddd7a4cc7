"""Import rules that import-linter can't state: it knows other people's packages as a whole only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import HOME

KIT = HOME / "telemetry" / "followthrough"
USERS_OF_THE_SDK = ("tracing", "recorder", "distro.py", "testing.py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(KIT.rglob("*.py")), ids=lambda p: str(p.relative_to(KIT)))
def test_the_sdk_is_imported_in_few_places(path):
    """What only speaks OpenTelemetry's API works with any SDK, and with none."""
    if path.relative_to(KIT).parts[0] not in USERS_OF_THE_SDK:
        assert not [name for name in imported(path) if name.startswith("opentelemetry.sdk")]


@pytest.mark.parametrize("path", sorted(KIT.rglob("*.py")), ids=lambda p: str(p.relative_to(KIT)))
def test_the_kit_imports_itself_by_relative_names(path):
    """So that it never meets another package of its name."""
    assert not [name for name in imported(path) if name.split(".")[0] in ("followthrough", "app")]
