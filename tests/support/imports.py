"""What an import has left in the database, whatever the database."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import select

from app import db
from app.models import Dataset, DatasetBadRow, DatasetRow


def fingerprint(data_id: int = 1) -> str:
    """A hash of a dataset's rows, bad rows and counts, of the database of the current app."""
    shown = (Dataset.columns, Dataset.total_rows, Dataset.bad_rows, Dataset.line, Dataset.status)
    row, bad = DatasetRow, DatasetBadRow
    queries = (
        select(row.line, row.data).where(row.dataset_id == data_id).order_by(row.line),
        select(bad.line, bad.reason).where(bad.dataset_id == data_id).order_by(bad.line),
        select(*shown, Dataset.byte_offset).where(Dataset.id == data_id),
    )
    hashed = hashlib.sha256()
    with db.session() as session:
        for query in queries:
            for found in session.execute(query):
                hashed.update(line(found))
    return hashed.hexdigest()


def line(found: Any) -> bytes:
    return json.dumps(list(found)).encode() + b"\n"


def with_bad_rows(rows: int, text: str = "some text") -> str:
    """A CSV file; each ninth row is bad, and quoted texts go over two lines."""
    content = (f'{n},"{text}\n{n}"\n' if n % 9 else f"{n}\n" for n in range(rows))
    return "id,text\n" + "".join(content)
