"""The page of the explorer in Chromium. Skipped where Panel, Playwright or Chromium is missing."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import ROOT

pytest.importorskip("panel", reason="the extra explore is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.filterwarnings("default"),
]
FINAL = re.compile(r"65 × 65 points after [\d.]+ s$")
SECONDS = 60_000  # milliseconds


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve the Mandelbrot set on a free port of the loopback."""
    folder = tmp_path_factory.mktemp("explorer")
    words = ["condition=mandelbrot", "resolution=65", "--port", "0", "open=false", f"tiles={folder / 'tiles'}"]
    command = [sys.executable, "-m", "metalearn", "explore", *words, f"folder={folder / 'runs'}", "tracker=none"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = server.stdout.readline()
            found = re.search(r"http://localhost:\d+", line)
            assert found, line
            yield found[0]
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visit(browser, address):
    """Open a query in a page that reports its errors, and refuses every other address."""
    pages, errors, elsewhere = [], [], []

    def open_page(query="", width=1280, **settings):
        page = browser.new_page(viewport={"width": width, "height": 900}, accept_downloads=True, **settings)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: elsewhere.append(request.url))
        pages.append(page)
        page.goto(f"{address}/{query}")
        page.get_by_text(FINAL).wait_for(timeout=SECONDS)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not errors
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []


def link(page):
    return page.get_by_label("permanent link of this view").input_value()


def width(page):
    found = re.search(r"width=([^&]+)", link(page))
    assert found
    return float(found[1])


def centre_of(page):
    box = page.locator(".bk-Figure").first.bounding_box()
    return box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5


def settle(page):
    """Wait until a movement has reached the server, and its picture is finished."""
    page.wait_for_timeout(400)
    page.get_by_text(FINAL).wait_for(timeout=SECONDS)


def test_zoom_click_layers_and_a_permanent_link(visit):
    page = visit()
    assert width(page) == pytest.approx(2.8)
    for _ in range(5):
        page.get_by_role("button", name="+", exact=True).click()
        settle(page)
    assert width(page) == pytest.approx(2.8 / 32)
    page.mouse.move(*centre_of(page))
    page.mouse.wheel(0, -300)
    settle(page)
    near = width(page)
    assert near < 2.8 / 33
    page.keyboard.press("-")
    settle(page)
    assert width(page) == pytest.approx(2 * near)
    before = link(page)
    page.keyboard.press("ArrowRight")
    settle(page)
    assert link(page) != before
    page.mouse.click(*centre_of(page))
    page.get_by_text(re.compile(r"Lyapunov exponent per step +-?\d")).wait_for(timeout=SECONDS)
    page.get_by_label("layer").select_option("exponent")
    page.get_by_text(re.compile("Lyapunov exponent per step: 65")).wait_for(timeout=SECONDS)
    address = link(page)
    assert "layer=exponent" in address
    other = visit(address[address.index("?") :])
    assert link(other) == address
    assert other.get_by_label("layer").input_value() == "exponent"


def test_a_bad_link_is_a_sentence_and_a_second_click_compares(visit):
    page = visit("?x=abc&problem=mandelbrot")
    page.get_by_text("x='abc', which is not a number").wait_for(timeout=SECONDS)
    x, y = centre_of(page)
    page.mouse.click(x, y)
    page.get_by_text(re.compile(r"ln ‖∇L_σ‖ +-?\d")).wait_for(timeout=SECONDS)
    page.mouse.click(x + 40, y + 20)
    page.get_by_text("The points differ by").wait_for(timeout=SECONDS)
    page.get_by_role("button", name="clear points").click()
    page.get_by_text("The points differ by").wait_for(state="hidden", timeout=SECONDS)
    with page.expect_download() as download:
        page.get_by_text("save PNG").click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_ten_quick_zooms_end_with_the_last_window(visit):
    page = visit()
    page.mouse.move(*centre_of(page))
    for _ in range(10):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(30)
    began = time.monotonic()
    settle(page)
    assert time.monotonic() - began < 30
    final = link(page)
    page.wait_for_timeout(1500)
    assert link(page) == final
    assert width(page) < 2.8 / 3
    assert page.get_by_text(FINAL).is_visible()


def test_the_page_fits_a_narrow_screen_and_follows_the_dark_scheme(visit):
    page = visit(width=400, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert "theme=dark" in page.url
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", colour)[:3])) < 150
    image = io.BytesIO(page.screenshot())
    assert len(image.getvalue()) > 5000


def test_the_server_listens_on_the_loopback_only(address):
    import socket

    port = int(address.rpartition(":")[2])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))  # nothing is sent; this chooses the address of the machine
            mine = one.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no other address")
    if mine.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError):
        socket.create_connection((mine, port), timeout=2)
