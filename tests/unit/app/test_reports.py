"""Reports say what the rows say, are made once, and are drawn whatever the rows hold."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app import db
from app.models import Report
from app.services import reports
from app.services.reports import charts, content, lettering, pdf, rows, store
from app.services.reports.content import Chart, Column, Document, Section, Table
from app.tasks.reports import generate_report
from app.tasks.upkeep import forget_expired
from tests.support.pdf import pages, texts
from tests.support.reports import NOVEMBER, add, fill, payment
from tests.unit.app.test_bad_input import refused

URL = "/api/generate-report"


@pytest.fixture
def filled(eager_app):
    fill()
    return eager_app.test_client()


def made(report_type, parameters, reference="key"):
    return store.path(reports.make(report_type, parameters, reference)).read_bytes()


def status_of(client, **document):
    answer = client.post(URL, json=document)
    assert answer.status_code == 202, answer.get_json()
    assert answer.get_json()["message"] == "Report generation started"
    return client.get(answer.get_json()["status_url"]).get_json()


def after(said, first):
    """The texts from this one on."""
    return said[said.index(first) :]


def test_a_report_is_asked_for_and_fetched(filled):
    status = status_of(filled, report_type="payments", parameters=NOVEMBER)
    assert status["state"] == "SUCCESS"
    result, task_id = status["result"], status["task_id"]
    report_id = task_id.replace("-", "")
    assert result == {
        "status": "completed",
        "report_type": "payments",
        "file_path": f"reports/payments_{report_id}.pdf",
        "report_id": report_id,
        "download_url": f"/api/reports/{report_id}",
    }
    with filled.get(result["download_url"]) as answer:
        assert (answer.status_code, answer.mimetype) == (200, "application/pdf")
        assert answer.data.startswith(b"%PDF-")
        name = "payments_2026-11-01_2026-11-30.pdf"
        assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
        seen = {"If-None-Match": answer.headers["ETag"]}
    with filled.get(result["download_url"], headers=seen) as answer:
        assert answer.status_code == 304
    with filled.get(f"/api/reports/{task_id}") as answer:
        assert answer.status_code == 200


def test_parameters_may_be_left_out(filled):
    assert status_of(filled, report_type="imports")["state"] == "SUCCESS"


def test_payments_are_summed_by_currency_exactly(filled):
    """Over the days asked for, from their first moment to their last."""
    said = texts(made("payments", NOVEMBER))
    assert said[:2] == ["Payments", "Period: 2026-11-01 to 2026-11-30 (UTC)"]
    totals = after(said, "Totals")
    assert totals[5:9] == ["JPY", "completed", "1", "1,200"]
    assert totals[9:13] == ["USD", "completed", "2", "0.30"]
    assert totals[13:17] == ["USD", "declined", "1", "99,999,999,999,999.99"]
    assert totals[17:21] == ["USD", "all", "3", "100,000,000,000,000.29"]
    assert {"A-1", "A-2", "A-3", "A-4"} <= set(said)
    assert not {"B-1", "B-2"} & set(said)
    assert {"Payments by day", "11-01", "11-30", "Completed", "Declined", "Page 1 of 1"} <= set(
        said
    )


def test_payments_are_filtered(filled):
    said = texts(made("payments", {**NOVEMBER, "currency": "USD", "status": "completed"}))
    assert after(said, "Totals")[5:9] == ["USD", "completed", "2", "0.30"]
    assert {"Currency: USD", "Status: completed", "Amount in USD by day"} <= set(said)
    assert {"A-1", "A-2"} <= set(said)
    assert not {"A-3", "A-4"} & set(said)


def test_sums_are_larger_than_a_database_s_integers(eager_app):
    largest = "99999999999999.9999"
    add(payment(f"L-{n}", largest, "CLF") for n in range(12))
    said = texts(made("payments", {**NOVEMBER, "currency": "CLF"}))
    assert f"{12 * Decimal(largest):,}" == "1,199,999,999,999,999.9988"
    assert after(said, "Totals")[5:9] == ["CLF", "completed", "12", "1,199,999,999,999,999.9988"]


def test_imports_are_counted(filled):
    said = texts(made("imports", NOVEMBER))
    totals = after(said, "Totals")
    assert totals[5:9] == ["completed", "1", "999", "1"]
    assert totals[9:13] == ["importing", "1", "231", "3"]
    assert totals[13:17] == ["all", "2", "1,230", "4"]
    assert {"one.csv", "two.csv", "Imported", "Bad"} <= set(said)
    assert "late.csv" not in said


def test_webhooks_are_counted(filled):
    said = texts(made("webhook_deliveries", NOVEMBER))
    totals = after(said, "Totals")
    assert totals[4:13] == ["delivered", "1", "1", "failed", "1", "4", "all", "2", "5"]
    assert {"https://example.com/", "order.paid", "204", "none", "Failed"} <= set(said)


@pytest.mark.parametrize(
    ("report_type", "parameters", "labels"),
    [
        ("daily_summary", {"date": "2026-11-23"}, {"00", "23"}),
        ("monthly_summary", {"month": "2026-11"}, {"11-01", "11-30"}),
    ],
)
def test_a_summary_has_all_of_it(filled, report_type, parameters, labels):
    said = texts(made(report_type, parameters))
    assert {"Payments", "Imports", "Webhook deliveries", "A-2", "one.csv", *labels} <= set(said)
    assert "B-1" not in said


def test_a_summary_lists_few_rows_and_says_so(eager_app):
    add(payment(f"P-{n:03}", "1.00") for n in range(60))
    said = texts(made("daily_summary", {"date": "2026-11-23"}))
    assert sum(each.startswith("P-") for each in said) == 50
    assert "The first 50 rows of 60; 10 are left out. Totals are of all." in said
    assert after(said, "Totals")[5:9] == ["USD", "completed", "60", "60.00"]


def test_a_long_table_is_cut_and_says_so(eager_app):
    add(payment(f"P-{n:04}", "1.00") for n in range(1001))
    drawn = made("payments", NOVEMBER)
    said = texts(drawn)
    assert sum(each.startswith("P-") for each in said) == 1000
    assert "The first 1,000 rows of 1,001; 1 are left out. Totals are of all." in said
    assert pages(drawn) > 10
    assert f"Page {pages(drawn)} of {pages(drawn)}" in said
    assert said.count("Order") == pages(drawn)


@pytest.mark.parametrize("report_type", ["imports", "payments", "webhook_deliveries"])
def test_an_empty_period_says_so(eager_app, report_type):
    said = texts(made(report_type, NOVEMBER))
    assert "Nothing in this period." in said
    assert {"Begun", "Asked"} & set(said)


def test_the_days_are_those_of_the_time_zone(make_app):
    """Also where they begin at half past: 18:30 UTC is midnight in Kolkata."""
    app = make_app(TIMEZONE="Asia/Kolkata")
    with app.app_context():
        add([payment("E-1", "1.00", at="2026-11-22T18:29:00")])
        add([payment("E-2", "2.00", at="2026-11-22T18:30:00")])
        scope = reports.scope("payments", {"from": "2026-11-22", "to": "2026-11-23"})
        section = rows.read(scope, datetime.now(UTC), lambda _: None).sections[0]
    assert section.chart.labels == ["11-22", "11-23"]
    assert section.chart.series == {"Completed": [1, 1]}
    assert [row[:2] for row in section.listing.rows] == [
        ("2026-11-22 23:59", "E-1"),
        ("2026-11-23 00:00", "E-2"),
    ]


@pytest.mark.parametrize(
    ("first", "last", "step", "labels"),
    [
        ("2026-11-23", "2026-11-23", "hour", ["00", "01", "23"]),
        ("2026-10-30", "2026-11-29", "day", ["10-30", "10-31", "11-29"]),
        ("2026-11-01", "2026-12-02", "week", ["11-01", "11-08", "11-29"]),
        ("2026-01-31", "2026-12-31", "month", ["2026-01", "2026-02", "2026-12"]),
    ],
)
def test_bars_stand_for_what_fits_the_period(first, last, step, labels):
    counted = [content.Counted(f"{day} 23", "Bad", 1) for day in (first, last)]
    days = (datetime.fromisoformat(day).date() for day in (first, last))
    chart = content.charted("Rows", *days, counted)
    assert chart.title == f"Rows by {step}"
    assert [*chart.labels[:2], chart.labels[-1]] == labels
    assert sum(chart.series["Bad"]) == 2
    assert chart.series["Bad"][-1] == (2 if step == "hour" else 1)


def document(*cells):
    columns = (Column("Text"), Column("Number", 0.3, right=True), Column("Last", 5))
    listing = Table("Rows", columns, [(cell, cell, cell) for cell in cells], len(cells))
    chart = Chart("By day", "Day", "Rows", ["a", "b"], {"Bad": [1, 2], cells[0]: [Decimal(1), 3]})
    return Document(cells[0], [("Fact", cells[0])], [Section(cells[0], listing, chart, listing)])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=300), min_size=1, max_size=4))
def test_any_text_is_drawn(cells):
    assert pages(pdf.drawn(document(*cells), lambda _: None)) >= 1


@pytest.mark.parametrize("cell", ["x" * 100_000, "<b>&</para>", "a\nb\r\x00", "Жук 虫 🐞 e\u0301"])
def test_awkward_text_is_drawn(cell):
    drawn = pdf.drawn(document(*[cell] * 30), lambda _: None)
    assert pages(drawn) < 10


def test_what_the_fonts_lack_is_a_question_mark():
    lettering.load_fonts()
    assert lettering.drawable("Жe\u0301 Łódka\t€\x00") == "?é Łódka €?"
    assert lettering.wrapped("<b>&", 1000, lettering.FONT, 8) == "<b>&"


def test_a_text_is_cut_to_its_lines():
    lettering.load_fonts()
    lines = lettering.wrapped("one two threefourfive " * 20, 50, lettering.FONT, 8).split("\n")
    assert len(lines) == lettering.MOST_LINES
    assert lines[0] == "one two"
    assert lines[-1].endswith("…")
    assert lettering.wrapped("x", 0, lettering.FONT, 8) == "x"
    assert lettering.wrapped("", 10, lettering.FONT, 8) == ""


@given(st.decimals(0, 10**16, places=2))
def test_an_axis_has_few_round_steps(highest):
    assert float(highest) <= charts.TICKS * charts.step(highest)
    assert len(charts.short(charts.step(highest))) <= 5


def test_the_same_rows_give_the_same_bytes(filled):
    scope = reports.scope("daily_summary", {"date": "2026-11-23"})
    first, second = (
        pdf.drawn(
            rows.read(scope, datetime(2026, 1, 1, tzinfo=UTC), lambda _: None), lambda _: None
        )
        for _ in range(2)
    )
    assert first == second


def test_progress_is_of_the_parts_done(filled):
    shown = []
    reports.make("monthly_summary", {"month": "2026-11"}, "key", lambda *each: shown.append(each))
    assert shown[0] == ("generating", 0)
    assert shown[-1] == ("saving", 90)
    assert {13, 26} <= {percent for _, percent in shown}
    assert [percent for _, percent in shown] == sorted(percent for _, percent in shown)


def test_a_task_that_runs_twice_makes_one_file(filled, eager_app):
    first, second = (
        generate_report.apply(args=["payments", NOVEMBER], task_id="t" * 8) for _ in range(2)
    )
    assert first.get() == second.get()
    folder = eager_app.extensions["settings"].files_dir / "reports"
    assert [path.name for path in folder.iterdir()] == [Path(first.get()["file_path"]).name]


def test_a_report_is_made_once_by_its_key(filled, monkeypatch):
    first = reports.make("daily_summary", {"date": "2026-11-23"}, "daily_summary:2026-11-23")
    monkeypatch.setattr(pdf, "drawn", lambda *_: pytest.fail("drawn again"))
    again = reports.make("daily_summary", {"date": "2026-11-23"}, "daily_summary:2026-11-23")
    assert again == first
    assert first.completed
    assert first.size == store.path(first).stat().st_size


def test_a_report_whose_file_is_gone_is_made_again(filled):
    first = reports.make("payments", NOVEMBER, "key")
    store.path(first).unlink()
    assert refused(filled.get(f"/api/reports/{first.id}"), 410)
    reports.make("payments", NOVEMBER, "key")
    with filled.get(f"/api/reports/{first.id}") as answer:
        assert answer.status_code == 200


def test_a_report_that_is_being_made_is_a_409(eager_app, eager):
    begun = store.begun("key", reports.scope("payments", NOVEMBER))
    answer = eager.get(f"/api/reports/{begun.id}")
    refused(answer, 409)
    assert answer.headers["Retry-After"]
    store.failed("key")
    refused(eager.get(f"/api/reports/{begun.id}"), 410)


def test_no_path_of_the_table_leaves_the_folder(filled, eager_app):
    folder = eager_app.extensions["settings"].files_dir
    report = reports.make("payments", NOVEMBER, "key")
    (folder.parent / "secret").write_text("secret")
    (folder / "reports" / "link").symlink_to(folder.parent / "secret")
    for path in ("../secret", "reports/link", "/etc/hostname", "reports", "a\x00b"):
        with db.session() as session:
            session.execute(update(Report).values(file_path=path))
        refused(filled.get(f"/api/reports/{report.id}"), 410)


@pytest.mark.parametrize(
    "report_id",
    ["0", "0" * 32, "%00", "a" * 9999, "..", "%FF", "A" * 32, "٣" * 32, "%0A" + "0" * 32],
)
def test_an_unknown_report_is_not_found(eager, report_id):
    assert eager.get(f"/api/reports/{report_id}").status_code == 404


def test_wrong_arguments_of_the_task_fail_for_good(eager_app):
    for args in (["sales"], ["payments", {"from": "x"}]):
        ended = generate_report.apply(args=args)
        assert (ended.state, ended.result.retryable) == ("FAILURE", False)


@pytest.mark.parametrize("error", [OperationalError("", {}, Exception()), OSError(28, "No space")])
def test_what_may_pass_is_tried_again(filled, monkeypatch, error):
    """And after the last try the report is known to have failed."""

    def fail(*_):
        raise error

    monkeypatch.setattr(pdf, "drawn", fail)
    ended = generate_report.apply(args=["payments", NOVEMBER], task_id="key")
    assert ended.state == "FAILURE"
    assert ended.result.details == {"retryable": True, "retries_exhausted": True}
    with db.session() as session:
        assert session.scalars(select(Report.status)).all() == ["failed"]


def test_old_reports_are_deleted(make_app):
    with make_app(REPORTS_KEPT="7").app_context():
        old, young = (reports.make("payments", NOVEMBER, key) for key in ("old", "young"))
        left = store.folder() / ".killed.part"
        left.touch()
        past = datetime.now(UTC) - timedelta(days=8)
        with db.session() as session:
            session.execute(update(Report).where(Report.id == old.id).values(created_at=past))
        for path in (store.path(old), left):
            os.utime(path, (past.timestamp(),) * 2)
        forget_expired()
        assert [path.name for path in store.folder().iterdir()] == [store.path(young).name]
        assert store.find(old.id) is None
        assert store.find(young.id) == young
