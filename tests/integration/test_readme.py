"""The README's snippets, run as they are against a real service on another port."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.support import HOME, program_env, redis_server
from tests.support.parts import MailServer, Parts

pytestmark = pytest.mark.integration

HERE = "http://127.0.0.1:5000"
# A machine without Node goes without its test; .ci/run sets EVERY_TEST and may not.
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(
    NODE is None and not os.environ.get("EVERY_TEST"), reason="node is not installed"
)


def snippet(language, word):
    """The one snippet of this language with this word in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", (HOME / "README.md").read_text(), re.DOTALL)
    [found] = [block for block in blocks if word in block]
    return found


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    directory = tmp_path_factory.mktemp("readme")
    with redis_server(directory) as (_, url), MailServer() as mail:
        mail.refusals["bob@example.com"] = ["550 no such mailbox"]
        parts = Parts(directory, url, {"SMTP_URL": mail.url})
        with parts.web(), parts.worker():
            yield parts, mail


CASES = [
    pytest.param("python", "requests", "py", [sys.executable], id="requests"),
    pytest.param("python", "httpx", "py", [sys.executable], id="httpx"),
    pytest.param("javascript", "fetch", "mjs", [NODE or "node"], id="fetch", marks=needs_node),
]


@pytest.mark.parametrize(("language", "word", "suffix", "program"), CASES)
def test_a_snippet_sends_waits_and_reads(service, tmp_path, language, word, suffix, program):
    parts, mail = service
    text = snippet(language, word)
    assert HERE in text
    ended = run(program, tmp_path / f"snippet.{suffix}", text.replace(HERE, url(parts)))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("SUCCESS")
    assert "ada@example.com" in ended.stdout
    assert any(f"Sent by {word}." in str(each) for each in bodies(mail))


@pytest.mark.parametrize(("language", "word", "suffix", "program"), CASES)
def test_a_snippet_tells_a_failure(service, tmp_path, language, word, suffix, program):
    parts, mail = service
    mail.refusals["bob@example.com"] = ["550 no such mailbox"]
    text = snippet(language, word).replace("ada@", "bob@").replace(HERE, url(parts))
    ended = run(program, tmp_path / f"snippet.{suffix}", text)
    assert ended.stdout.startswith("FAILURE 550")


def run(program, file, text):
    file.write_text(text)
    return subprocess.run(
        [*program, str(file)],
        env=program_env({}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def url(parts):
    return f"http://127.0.0.1:{parts.port}"


def bodies(mail):
    return [each.content if hasattr(each, "content") else each for each in mail.mails]
