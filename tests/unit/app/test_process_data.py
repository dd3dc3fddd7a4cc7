"""What processing finds out about a dataset's columns."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app import db
from app.models import Dataset, DatasetColumn
from app.services import datasets, importer, profiling
from app.services.profiling import Column, Numbers
from app.tasks.processing import Reporter, process_data, progress_of
from tests.unit.app.test_bad_input import refused

CONTENT = """name,age,height,active,born,nothing
Ada,36,1.65,yes,1815-12-10,
Grace,85,1.70,no,1906-12-09,NULL
Edsger,72,,yes,1930-05-11,n/a
Barbara,n/a,1.60,no,1939-11-07,
Alan,41,1.78,yes,1912-06-23,-
Methuselah,9690,1.70,yes,1000-01-01,
"""


@pytest.fixture
def app(make_app, tmp_path):
    """A service with one dataset."""
    app = make_app(CELERY_TASK_ALWAYS_EAGER="1")
    path = tmp_path / "people.csv"
    path.write_text(CONTENT)
    with app.app_context():
        importer.run(path, path.name, 4, lambda *_: None)
    return app


def columns(app):
    with app.app_context(), db.session() as session:
        found = session.scalars(select(DatasetColumn).order_by(DatasetColumn.position)).all()
        session.expunge_all()
        return {column.name: column for column in found}


def processed(app, data_id=1):
    client = app.test_client()
    answer = client.post(f"/api/process-data/{data_id}")
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["message"] == "Data processing started"
    return client.get(answer.get_json()["status_url"]).get_json()


def test_a_dataset_is_processed(app):
    """The result has the members that callers read, and each column is described."""
    status = processed(app)
    assert status["result"] == {"status": "completed", "data_id": 1, "steps_completed": 4}
    found = columns(app)
    assert {name: (c.kind, c.rows, c.missing, c.different) for name, c in found.items()} == {
        "name": ("text", 6, 0, 6),
        "age": ("integer", 6, 1, 5),
        "height": ("number", 6, 1, 4),
        "active": ("boolean", 6, 0, 2),
        "born": ("date", 6, 0, 6),
        "nothing": ("empty", 6, 6, 0),
    }
    assert found["name"].statistics == {"shortest": 3, "longest": 10}
    age = found["age"]
    assert age.outliers == 1
    assert (age.statistics["min"], age.statistics["median"], age.statistics["max"]) == (
        36,
        72,
        9690,
    )


@pytest.mark.parametrize("most", [1, 2, 3, 6, 7])
def test_the_rows_come_in_parts(app, most):
    with app.app_context():
        names = [row["name"] for row in datasets.rows(1, most)]
    assert names == ["Ada", "Grace", "Edsger", "Barbara", "Alan", "Methuselah"]


def test_processing_again_replaces_what_was_found(app):
    processed(app)
    before = columns(app)["age"]
    processed(app)
    after = columns(app)["age"]
    assert len(columns(app)) == 6
    assert after.statistics == before.statistics


def test_progress_names_each_step(app, monkeypatch):
    shown = []
    monkeypatch.setattr(process_data, "update_state", lambda **kw: shown.append(kw["meta"]))
    with app.app_context():
        process_data.apply(args=[1])
    steps = list(dict.fromkeys(meta["step"] for meta in shown))
    assert steps == ["validating", "transforming", "analyzing", "saving"]
    assert shown[0] == {"step": "validating", "current": 1, "total": 4, "percent": 0}
    assert shown[-1] == {"step": "saving", "current": 4, "total": 4, "percent": 75}
    assert sorted(meta["percent"] for meta in shown) == [meta["percent"] for meta in shown]


def test_a_part_of_a_step_is_shown_at_most_once_a_percent():
    shown = []

    class Shown:
        def update_state(self, *, state, meta):
            shown.append((state, meta["percent"]))

    assert len(list(Reporter(Shown()).counted("analyzing", [{}] * 5000, 5000))) == 5000
    assert shown == [("PROGRESS", percent) for percent in range(50, 75)]
    assert progress_of("saving", 9.0)["percent"] == 100


@pytest.mark.parametrize("data_id", ["2", "0", "2147483648", "9" * 100])
def test_an_unknown_dataset_is_not_found(app, data_id):
    """The answer names those there are."""
    document = refused(app.test_client().post(f"/api/process-data/{data_id}"), 404)
    assert document["detail"].endswith("the newest are 1.")


def test_a_field_is_refused(app):
    document = refused(app.test_client().post("/api/process-data/1", json={"x": 1}), 400)
    assert document["errors"][0]["field"] == "x"
    assert app.test_client().post("/api/process-data/1", json={}).status_code == 202


def test_an_import_that_has_not_ended_is_waited_for(app):
    """In the end the failure says that trying again may help."""
    with app.app_context():
        with db.session() as session:
            session.scalars(select(Dataset)).one().status = "importing"
        ended = process_data.apply(args=[1])
    assert str(ended.result) == "The import of dataset 1 has not ended."
    assert ended.result.details == {"retryable": True, "retries_exhausted": True}


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1", "integer"),
        ("-12", "integer"),
        ("+3", "integer"),
        ("1.5", "number"),
        ("1e3", "number"),
        ("1e999", "text"),
        ("inf", "text"),
        ("1_000", "text"),
        ("9" * 41, "text"),
        ("2026-01-31", "date"),
        ("2026-01-31T10:00:00+01:00", "date"),
        ("2026-02-30", "text"),
        ("Yes", "boolean"),
        ("-", "text"),
        ("²", "text"),
    ],
)
def test_a_cell_looks_like_a_type(cell, kind):
    assert profiling.kind(cell) == kind


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([], "empty"),
        (["1", "2.5"], "number"),
        (["1", "yes"], "text"),
        (["1", "", "n/a"], "integer"),
        (["2026-01-01", "1"], "text"),
    ],
)
def test_a_column_has_the_type_that_all_its_cells_fit(cells, kind):
    column = Column("c")
    for cell in cells:
        column.add(cell)
    assert column.kind == kind


@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=200))
def test_statistics_are_those_of_the_whole_list(values):
    """Added one by one, they come to what the standard library says of them together."""
    numbers = Numbers()
    for value in values:
        numbers.add(value)
    near = {"rel": 1e-6, "abs": 1e-3}
    assert numbers.mean == pytest.approx(statistics.fmean(values), **near)
    assert numbers.deviation == pytest.approx(statistics.stdev(values), **near)
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    found = [numbers.quantile(share) for share in (0.25, 0.5, 0.75)]
    assert found == pytest.approx(quartiles, **near)


def test_the_sample_is_bounded_and_close():
    """Of 20,000 numbers the quartiles are estimated, and the same each time."""
    both = [Numbers(), Numbers()]
    for numbers in both:
        for value in range(20_000):
            numbers.add(value)
    assert both[0].quantile(0.5) == both[1].quantile(0.5) == pytest.approx(10_000, rel=0.05)
    assert len(both[0]._sample) == profiling.SAMPLE


def test_many_different_values_are_not_counted_on():
    column = Column("c")
    for value in range(profiling.MOST_VALUES + 1):
        column.add(str(value))
    assert column.different is None


def test_numbers_beyond_range_leave_no_infinity():
    """JSON has none."""
    column = Column("c")
    for cell in ("1e308", "-1e308", "1e308"):
        column.add(cell)
    found = profiling.summary(column)
    assert "stddev" not in found
    assert found["min"] == -1e308
