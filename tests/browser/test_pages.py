"""The agent's own pages in a real browser, at desktop and phone width, light and dark."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.browser.chromium import DESKTOP, PHONE
from tests.browser.conftest import TRACE
from tests.support import wait_for

pytestmark = pytest.mark.browser

LOOKS = [(size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark")]

# The lowest contrast of text against what is behind it, and which text that is (WCAG's formula).
CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const behind = element => {
    if (!element) return [255, 255, 255];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(element.parentElement));
  };
  const light = color => {
    const [r, g, b] = color.map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    // A duration inside its bar stands on the bar, which isn't its ancestor.
    if (!node.data.trim() || !element.checkVisibility() || element.matches(".inside")) continue;
    const back = behind(element), ink = over(rgba(getComputedStyle(element).color), back);
    const [a, b] = [light(ink), light(back)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, node.data.trim()];
  }
  return worst;
})()
"""


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0][0]}-{look[1]}")
@pytest.mark.parametrize("path", ["/", f"/trace/{TRACE}"])
def test_pages_fit_the_screen_and_are_legible(tab, agent, tmp_path, path, look):
    size, scheme = look
    tab.look(size, scheme)
    tab.open(agent.url + path)
    tab.run("for (const details of document.querySelectorAll('details')) details.open = true")
    assert tab.run("document.documentElement.scrollWidth") <= size[0]
    ratio, text = tab.run(CONTRAST)
    assert ratio >= 4.5, text
    assert tab.problems() == []
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_the_list_leads_to_the_waterfall(tab, agent):
    tab.look()
    tab.open(agent.url)
    assert "POST /api/send-email" in tab.text()
    tab.run("document.querySelector('.traces a').click()")
    wait_for(lambda: tab.run("location.pathname") == f"/trace/{TRACE}", "the trace opens")
    wait_for(lambda: "process tasks.send_email" in tab.text(), "its spans are shown")


def test_bars_stand_where_and_as_long_as_their_spans(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    bars = tab.run(
        """[...document.querySelectorAll("details.span")].map(span => {
          const line = span.querySelector(".line").getBoundingClientRect();
          const bar = span.querySelector(".bar").getBoundingClientRect();
          return [span.querySelector("strong").textContent,
            Math.round(1000 * (bar.left - line.left) / line.width) / 10,
            Math.round(1000 * bar.width / line.width) / 10];
        })"""
    )
    assert bars[0] == ["POST /api/send-email", 0, pytest.approx(25.3, abs=0.4)]
    assert bars[1] == [
        "send tasks.send_email",
        pytest.approx(6.2, abs=0.4),
        pytest.approx(6.9, abs=0.4),
    ]
    assert bars[2][1:] == [pytest.approx(16.5, abs=0.4), pytest.approx(83.5, abs=0.4)]


def test_services_have_colours_of_their_own(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    colours = tab.run(
        """Object.fromEntries([...document.querySelectorAll("details.span")].map(span =>
          [span.querySelector(".svc").textContent.split(" · ")[0],
           getComputedStyle(span.querySelector(".bar")).backgroundColor]))"""
    )
    assert len(colours) == len(set(colours.values())) == 3


def test_a_span_opens_to_its_details(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    assert "celery.retries" not in tab.text()
    tab.run("document.querySelectorAll('details.span > summary')[2].click()")
    text = tab.text()
    for part in ("celery.retries", "SMTPServerDisconnected: gone", "Traceback", "2.88 ms"):
        assert part in text, part


def test_a_link_to_a_span_opens_it(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}#{'3' * 16}")
    wait_for(lambda: "celery.retries" in tab.text(), "the span opens")


def test_all_spans_open_and_close_at_once(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    opened = "document.querySelectorAll('details.span[open]').length"
    tab.run("document.querySelector('[data-expand]').click()")
    assert tab.run(opened) == 7
    tab.run("document.querySelector('[data-expand]').click()")
    assert tab.run(opened) == 0


def test_the_trace_id_is_copied(tab, agent):
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    # What is written, not what a paste gives: headless browsers share one clipboard.
    tab.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    tab.run("document.querySelector('[data-copy]').click()")
    wait_for(lambda: tab.run("window.copied") == TRACE, "the id is copied")
    wait_for(lambda: "Copied" in tab.text(), "the button says so")


def test_every_control_has_a_name_and_can_be_reached_by_keyboard(tab, agent):
    tab.look()
    for path in ("/", f"/trace/{TRACE}"):
        tab.open(agent.url + path)
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        controls = [
            node
            for node in nodes
            if node.get("role", {}).get("value")
            in {"button", "link", "textbox", "combobox", "checkbox", "DisclosureTriangle"}
        ]
        assert len(controls) > 4
        assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_pages_work_without_script(tab, agent):
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.look()
    tab.open(f"{agent.url}/trace/{TRACE}")
    assert re.search(r"\d\d:\d\d:\d\d\.\d{3}", tab.text())
    assert "Expand all" not in tab.text()


def test_the_empty_page_says_what_to_do_and_it_works(tab, empty_agent):
    tab.look()
    tab.open(empty_agent.url)
    command = tab.run("document.querySelector('.try').innerText")
    done = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)
    assert done.stdout == "{}", command
    tab.open(empty_agent.url)
    assert "GET /hello" in tab.text()
    assert "250 ms" in tab.text()
