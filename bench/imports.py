"""How fast a file is imported into SQLite, and how much memory that takes."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from app import create_app, db, settings
from app.services import importer

ROWS = 1_000_000
CHUNK_SIZE = 1000  # the default of the route
MIB = 1024**2


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.csv"
        write(path, rows)
        env = {"STATE_DIR": f"{directory}/state", "OTEL_TRACES_EXPORTER": "none"}
        loaded = settings.load(env)
        db.upgrade(loaded)
        with create_app(loaded, role="client").app_context():
            before = peak()
            begin = time.monotonic()
            progress = importer.run(path, path.name, CHUNK_SIZE, lambda *_: None)
            seconds = time.monotonic() - begin
        print(f"imported         {progress.total_rows:,} rows, {path.stat().st_size / MIB:.0f} MiB")
        print(f"bad rows         {progress.bad_rows}")
        print(f"speed            {rows / seconds:,.0f} rows/s into SQLite")
        print(f"peak memory      {peak():.0f} MiB, {before:.0f} MiB before the import")


def write(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write("id,name,email,amount,created\n")
        for n in range(rows):
            file.write(f"{n},Person {n},person{n}@example.com,{n % 9973}.50,2026-01-{n % 28 + 1}\n")


def peak() -> float:
    # Not getrusage's: that also counts what the process was before its program began.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
