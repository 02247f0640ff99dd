"""The overview in a real browser: what a person sees, and that it follows a promotion by itself."""

import json
import os
import shutil

import pytest
from conftest import free_port, need, stop, until, wait_for

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.alert_episodes import observe
from crypto_anomaly.lifecycle.alert_signals import AlertSignal
from crypto_anomaly.registry.registry import open_registry

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 120_000  # ms for whatever a page has to show, on a busy machine too

TOO_WIDE = """
[...document.querySelectorAll('main > *, main table')]
  .filter(e => !e.closest('.scroll') && e.scrollWidth > innerWidth + 1)
  .map(e => `${e.tagName}#${e.id} ${e.scrollWidth}`)
"""


UNNAMED = """
[...document.querySelectorAll('input:not([type=hidden]), select, button, main a, iframe')]
  .filter(e => e.offsetParent)
  .filter(e => !(e.labels?.length || e.ariaLabel || e.title || e.innerText.trim()))
  .map(e => e.outerHTML.slice(0, 80))
"""  # what a screen reader could not name


def check_market(page, at):
    """Filter, sort, permalink, the past, a file, and the way by keyboard."""
    from playwright.sync_api import expect

    page.get_by_role("link", name="Market").click()
    coins = page.locator("#coins tbody tr")
    assert page.evaluate(UNNAMED) == []
    page.get_by_role("link", name="24 h", exact=True).click()
    expect(page).to_have_url(f"{at}/coins?sort=change_24h")
    expect(page.locator("#coins th[aria-sort=descending]")).to_have_text("24 h")
    expect(page.get_by_role("link", name="24 h", exact=True)).to_be_focused()
    told = coins.locator("td:nth-child(4)").all_inner_texts()
    moves = [float(x.split()[0].replace(",", "")) for x in told if x != "–"]
    assert moves == sorted(moves, reverse=True) and len(moves) > 10
    name = coins.first.locator("th a").inner_text()
    page.get_by_label("Find a coin").fill(name)
    expect(page).to_have_url(f"{at}/coins?q={name}&sort=change_24h")
    expect(page.locator("#found-says")).to_contain_text("sorted by change 24h")
    shown = coins.locator("th a").all_inner_texts()
    page.goto(page.url)  # the address alone brings the same table
    assert coins.locator("th a").all_inner_texts() == shown and name in shown
    with page.expect_download() as file:
        page.get_by_role("link", name="Download").click()
    rows = file.value.path().read_text().splitlines()
    assert len(rows) == 1 + len(shown) and "simulated" in rows[1]
    page.goto(f"{at}/coins?at=3d")
    expect(page.locator("#moment")).to_contain_text("This is the market of")
    assert page.locator("#coins tbody th a").first.get_attribute("href").count("?at=") == 1
    page.goto(f"{at}/coins?show=nothing")
    expect(page.locator("main")).to_contain_text("show")  # an error that names the parameter
    assert all("422" in error for error in page.errors), page.errors
    page.errors.clear()
    page.goto(f"{at}/coins")
    page.get_by_text("All measures").click()
    expect(page.locator("#heat .heatmaplayer")).to_be_visible()
    coins.first.get_by_role("link").focus()
    page.keyboard.press("ArrowDown")
    expect(coins.nth(1).get_by_role("link")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#history .scatterlayer").first).to_be_visible()


def check_alerts(page, at, registry):
    """Feedback on one alert at its own address, an act on several, a filter."""
    from playwright.sync_api import expect

    names = ("browser-a", "browser-b", "browser-c")
    signals = [AlertSignal(f"coin:{name}", 3000.0, "planted by a test") for name in names]
    observe(registry, signals)
    page.goto(f"{at}/alerts?q=browser-")
    assert page.evaluate(UNNAMED) == []
    rows = page.locator("#alerts tbody tr")
    expect(rows).to_have_count(3)
    page.get_by_role("link", name="browser-c").click()
    page.get_by_role("button", name="useful").click()
    expect(page.locator("main")).to_contain_text("Feedback: useful.")
    address = page.url
    page.goto(f"{at}/alerts?q=browser-&rated=no")
    expect(rows).to_have_count(2)
    page.get_by_label("all of the list").check()
    expect(page.get_by_text("2 chosen")).to_be_visible()
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="close").click()
    expect(page.locator("#alerts tbody td b").first).to_have_text("closed")
    expect(page.get_by_role("button", name="close")).to_be_enabled()  # its script has run
    page.get_by_label("State").select_option("open")
    expect(page.get_by_text("No alert fits.")).to_be_visible()
    page.goto(address)
    expect(page.get_by_role("heading", level=1)).to_contain_text("open")


def check_runs(page, at):
    """A filter of the runs, and how long they took."""
    from playwright.sync_api import expect

    page.goto(f"{at}/cards")
    assert page.evaluate(UNNAMED) == []
    page.locator("form[data-asks]").get_by_label("Stage").select_option("scan")
    expect(page).to_have_url(f"{at}/cards?stage=scan")
    expect(page.locator("#runs tbody th").first).to_have_text("scan")
    assert set(page.locator("#runs tbody th").all_inner_texts()) == {"scan"}
    assert page.locator("#runs tbody td:nth-child(4)").first.inner_text().endswith("s")
    expect(page.locator("#last-failure")).to_contain_text("No run has failed.")


@pytest.fixture
def page():
    need(CHROMIUM, "Chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as pw:
        browser = pw.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        page = browser.new_page(viewport=dict(width=1280, height=900))
        page.context.set_default_timeout(PATIENCE)
        page.errors = []
        page.on("pageerror", lambda e: page.errors.append(str(e)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.route(
            lambda url: not url.startswith("http://127.0.0.1"),
            lambda r: (page.errors.append(f"asked for {r.request.url}"), r.abort()),
        )
        yield page
        browser.close()


def test_overview_shows_anomalies_and_follows_a_promotion(home, page, tmp_path):
    from playwright.sync_api import expect

    port = free_port()
    server = home.start("serve", "--port", str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.get_by_role("heading", level=1)).to_contain_text("in the last 24 h")
        expect(page.get_by_text("Simulated market.")).to_be_visible()
        expect(page.get_by_text("there is no champion")).to_be_visible()
        rows = page.locator(
            "h2#anomalies ~ h3 + div tbody tr, h2#anomalies ~ details:not([id]) tr:has(td)"
        )
        found = json.loads(wait_for(f"http://127.0.0.1:{port}/anomalies?limit=10"))["anomalies"]
        shown = rows.locator("td:first-child b").all_text_contents()
        assert {a["symbol"].upper() for a in found} <= set(shown)
        assert all(text.strip() for text in rows.locator("td:last-child").all_text_contents())
        expect(page.locator("#map .scatterlayer")).to_be_visible()
        page.screenshot(path=tmp_path / "overview.png", full_page=True)
        home("approve", "v1", "--by", "ada", "--reason", "seen on the page")
        home("promote", "v1")
        # the page looks every 15 s and reloads itself
        expect(page.locator(".pill.champion")).to_be_visible()
        page.set_viewport_size(dict(width=390, height=844))
        # not wider than a phone, once the figure has followed
        until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1"))
        page.get_by_role("link", name="executed notebook").first.click()
        expect(page.locator("main")).to_contain_text("crypto_anomaly")
        page.goto(f"http://127.0.0.1:{port}/docs")
        # no CDN: nothing may leave loopback
        expect(page.get_by_text("/anomalies", exact=True).first).to_be_visible()
        assert not page.errors, page.errors
    finally:
        stop(server)


def test_every_page_and_a_decision(home, page, tmp_path):
    from playwright.sync_api import expect

    home("run", "scan")  # a second point in the history of every coin
    port = free_port()
    at = f"http://127.0.0.1:{port}"
    server = home.start("serve", "--port", str(port))
    try:
        address = server.says(r"decide on (\S+)")[1]
        token = (home.home / "simulated/api_token").read_text()
        assert token not in server.said()  # a log is no place for it
        wait_for(f"{at}/health")
        page.goto(f"{address}#token={token}")  # as a person at a terminal is told
        assert "token" not in page.url
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no champion")
        expect(page.get_by_label("Token")).to_be_hidden()

        def decide(button, reason):
            page.get_by_label("Name").fill("ada")
            page.get_by_label("Reason").fill(reason)
            page.get_by_role("button", name=button).click()

        page.get_by_label("Reason").fill("I have not looked again")  # stops the reloading
        registry = open_registry(open_workspace(Settings(home=home.home, source="simulated")))
        registry.reject("v1", by="bob", reason="not yet")
        decide("Approve and promote", "finds the injected events")
        expect(page.locator(".said")).to_contain_text("was rejected by bob")  # beside the button
        assert all("409" in error for error in page.errors), page.errors
        page.errors.clear()
        page.goto(f"{at}/models/anomaly_detector/v1")
        decide("Retire", "no longer needed")
        expect(page.locator("h1 .pill")).to_have_text("retired")
        decide("Ask for approval", "needed after all")
        expect(page.get_by_text("waits for a decision")).to_be_visible()
        page.goto(f"{at}/models")
        expect(page.locator("#queue + section")).to_contain_text("v1 wants to be champion")
        decide("Approve and promote", "seen on the page")
        expect(page.get_by_role("heading", level=1)).to_contain_text("v1 is champion")
        answer = json.loads(wait_for(f"{at}/anomalies"))
        assert answer["model_status"] == "champion"  # the server has not been restarted

        check_market(page, at)
        check_alerts(page, at, registry)
        check_runs(page, at)
        for path, says in (
            ("/data", "Snapshots from"),
            ("/cards", "The last run of"),
            ("/live", "No trades"),
            ("/models?a=v1&b=latest", "v1 is"),
            ("/models/anomaly_detector/champion", "anomaly_detector v1"),
        ):
            page.goto(at + path)
            expect(page.get_by_role("heading", level=1)).to_contain_text(says)
            expect(page.get_by_text("Simulated market.")).to_be_visible()
        page.set_viewport_size(dict(width=390, height=844))
        for path in (
            "/coins",
            "/alerts",
            "/models",
            "/models/anomaly_detector/v1",
            "/data",
            "/cards",
        ):
            page.goto(at + path)
            page.wait_for_load_state("networkidle")
            fits = page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")
            assert fits, (path, page.evaluate(TOO_WIDE))
        assert not page.errors, page.errors
    finally:
        stop(server)
