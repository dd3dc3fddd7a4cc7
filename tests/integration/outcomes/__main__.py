"""`python -m tests.integration.outcomes 14 15`: run these rows, or all, and keep what they left."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.integration.outcomes import matrix

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="matrix"))
    result = matrix.run(folder, matrix.choose(map(int, sys.argv[1:])), *matrix.PREFORK)
    sys.stdout.write(f"{result.told()}\n{folder}\n")
