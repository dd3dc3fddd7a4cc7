"""Tables, colours, and several logs shown as one."""

import io

import pytest

from app.manage import output
from app.manage.output import Tail, last_lines, table, trim, wants_colour, write


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "env", "colour"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Terminal(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(stream, env, colour):
    assert wants_colour(stream, env) is colour


def test_columns_are_aligned_and_lines_have_no_trailing_spaces():
    assert table([("A", "B"), ("long", ""), ("x", "y")], "  ") == "  A     B\n  long\n  x     y\n"


def test_a_reader_that_has_gone_is_no_error():
    stream = io.StringIO()
    stream.close()
    write(stream, "text")


@pytest.fixture
def logs(tmp_path):
    paths = [tmp_path / "web.log", tmp_path / "worker.log"]
    paths[0].write_text("from the last run\n")
    return paths


@pytest.fixture
def follow():
    tails = []

    def make(logs, *, colour=False):
        stream = io.StringIO()
        tails.append(Tail(logs, stream, colour=colour))
        return tails[-1], stream

    yield make
    for tail in tails:
        tail.close()


def test_new_lines_are_shown_after_the_name_of_their_service(logs, follow):
    tail, stream = follow(logs)
    for path, text in zip(logs, ("one\ntwo\n", "three\n"), strict=True):
        with path.open("a") as log:
            log.write(text)
    tail.show()
    assert stream.getvalue() == "web    | one\nweb    | two\nworker | three\n"


def test_a_line_is_shown_when_it_is_whole(logs, follow):
    tail, stream = follow(logs)
    with logs[0].open("a") as log:
        log.write("hal")
        log.flush()
        tail.show()
        assert stream.getvalue() == ""
        log.write("f\n")
    tail.show()
    assert stream.getvalue() == "web    | half\n"


def test_each_service_has_a_colour_of_its_own(logs, follow):
    tail, stream = follow(logs, colour=True)
    for path in logs:
        with path.open("a") as log:
            log.write("x\n")
    tail.show()
    first, second = stream.getvalue().splitlines()
    assert first.startswith("\033[")
    assert first.split("m", 1)[0] != second.split("m", 1)[0]
    assert first.endswith("|\033[0m x")


def test_a_full_log_is_set_aside_while_it_is_written_and_followed(logs, follow, monkeypatch):
    monkeypatch.setattr(output, "LARGEST_LOG", 100)
    tail, stream = follow(logs)
    with logs[0].open("a") as log:
        log.write("x" * 200 + "\n")
        log.flush()
        tail.show()
        trim(logs[0])
        log.write("after\n")
    tail.show()
    assert logs[0].read_text() == "after\n"
    assert "x" * 200 in logs[0].with_name("web.log.1").read_text()
    assert stream.getvalue().endswith("web    | after\n")


def test_a_small_log_is_left_alone(logs):
    trim(logs[0])
    assert logs[0].read_text() == "from the last run\n"
    assert not logs[0].with_name("web.log.1").exists()


def test_the_last_lines_of_a_log_are_its_end(logs, tmp_path):
    logs[0].write_text("\n".join(map(str, range(100))) + "\n")
    assert last_lines(logs[0], 2) == ["98", "99"]
    assert last_lines(tmp_path / "none.log") == []
