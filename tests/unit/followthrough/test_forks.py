"""What a child must have anew, also one of whose fork Python knows nothing."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable

import pytest

from followthrough import forks


def unseen() -> int:
    """A fork by C code, of which Python is not told."""
    return int(ctypes.PyDLL(None).fork())


@pytest.fixture(params=["the kernel knows it", "it asks"])
def cell(request: pytest.FixtureRequest) -> forks.Cell:
    return forks.cell() if request.param == "the kernel knows it" else forks.Asking()


@pytest.mark.parametrize("fork", [os.fork, unseen])
def test_a_number_is_nought_in_a_child(cell: forks.Cell, fork: Callable[[], int]) -> None:
    assert cell[0] == 0.0
    cell[0] = 4.5
    pid = fork()
    if pid == 0:
        was, cell[0] = cell[0], 1.5
        grandchild = fork()
        if grandchild == 0:
            os._exit(0 if cell[0] == 0.0 else 1)
        os._exit(os.waitpid(grandchild, 0)[1] or int(was != 0.0 or cell[0] != 1.5))
    assert os.waitpid(pid, 0)[1] == 0
    assert cell[0] == 4.5


def test_where_the_kernel_cannot_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(forks.cell(), memoryview)

    class Old(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(mmap, "mmap", Old)
    assert isinstance(forks.cell(), forks.Asking)
