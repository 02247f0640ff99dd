"""The overview in a real browser: what a person sees, and that it follows a promotion by itself."""
import json
import os
import shutil
import urllib.request

import pytest
from conftest import free_port, need, wait_for

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync".split()


@pytest.fixture
def page():
    need(CHROMIUM, "Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport=dict(width=1280, height=900))
        page.errors = []
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.route(lambda url: not url.startswith("http://127.0.0.1"), lambda r: (page.errors.append(f"asked for {r.request.url}"), r.abort()))
        yield page
        browser.close()


def test_overview_shows_anomalies_and_follows_a_promotion(home, page, tmp_path):
    from playwright.sync_api import expect

    port = free_port()
    server = home.start("serve", "--port", str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        page.goto(f"http://127.0.0.1:{port}/", timeout=60_000)
        expect(page.get_by_role("heading", level=1)).to_contain_text("coins behave strangely")
        expect(page.get_by_text("Simulated market.")).to_be_visible()
        expect(page.get_by_text("there is no champion")).to_be_visible()
        rows = page.locator("h2#anomalies + div tbody tr")
        found = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/anomalies?limit=10"))["anomalies"]
        assert rows.locator("td:last-child").all_inner_texts() == [a["reason"] for a in found]
        expect(page.locator("#map .scatterlayer")).to_be_visible(timeout=20_000)
        page.screenshot(path=tmp_path / "overview.png", full_page=True)
        home("approve", "v1", "--by", "ada", "--reason", "seen on the page")
        home("promote", "v1")
        expect(page.locator(".pill.champion")).to_be_visible(timeout=40_000)  # the page looks every 15 s and reloads itself
        page.set_viewport_size(dict(width=390, height=844))
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth + 1", timeout=10_000)  # not wider than a phone, once the figure has followed
        page.get_by_role("link", name="executed notebook").first.click()
        expect(page.locator("main")).to_contain_text("crypto_anomaly")
        page.goto(f"http://127.0.0.1:{port}/docs")
        expect(page.get_by_text("/anomalies", exact=True).first).to_be_visible(timeout=20_000)  # no CDN: nothing may leave loopback
        assert not page.errors, page.errors
    finally:
        server.terminate()
        server.wait(20)
