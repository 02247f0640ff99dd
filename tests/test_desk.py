"""The promotion panel as two people use it: Voilà, a real kernel each, a real browser."""

import re
import urllib.error
import urllib.request

import pytest
from conftest import free_port, stop, wait_for_port
from test_browser import page  # noqa: F401  a fixture

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.lifecycle.evaluate_steps import evaluate_candidate
from crypto_anomaly.lifecycle.train_steps import train_candidate
from crypto_anomaly.registry.registry import open_registry


@pytest.fixture
def panel(home):
    """The address of the panel over a workspace in which v1 waits for a decision."""
    port = free_port()
    server = home.start("panel", "--port", str(port))
    try:
        address = server.says(r"http\S+")[0]
        wait_for_port(port)
        token = (home.home / "simulated/panel_token").read_text()
        yield f"{address}?token={token}"
        assert token not in server.said()
    finally:
        stop(server)


def waiting(ws, n):
    """`n` more candidates that passed their gates and wait."""
    for i in range(n):
        v = train_candidate(ws, contamination=0.03 + 0.01 * i)[0]
        assert evaluate_candidate(ws, candidate_version=f"v{v}")["passed"]


def test_two_people_at_the_panel(home, panel, page, tmp_path):  # noqa: F811
    from playwright.sync_api import expect

    ws = open_workspace(Settings(home=home.home, source="simulated"))
    r = open_registry(ws)
    ada, bob = page, page.context.browser.new_page(viewport=dict(width=1280, height=800))
    without_token = urllib.request.urlopen(panel.split("?")[0], timeout=120)
    assert "/login" in without_token.url
    assert panel.split("=")[1] != ws.api_token
    report = next(path for path in ws.runs.glob("*/*.html"))
    at = f"{panel.split('?')[0]}voila/files/{report.parent.name}/{report.name}"
    assert "/login" in urllib.request.urlopen(at, timeout=60).url  # no report without the token
    for path in ("promotion_desk.ipynb", "..%2fregistry.db"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{panel.replace('?', f'voila/files/{path}?')}", timeout=60)

    def sign(who, name, why):
        who.get_by_label("Name").fill(name)
        who.get_by_label("Reason").fill(why)

    def button(who, name):
        return who.get_by_role("button", name=name)

    for who in (ada, bob):
        who.goto(panel)
        expect(who.locator(".widget-select option")).to_have_text([re.compile(r"v1\s·\swaiting")])
    expect(ada.get_by_text("nobody yet")).to_be_visible()
    expect(ada.get_by_text("v1 becomes champion; there was no champion before")).to_be_visible()
    with ada.context.expect_page() as opened:
        ada.get_by_role("link", name="executed evaluation").click()
    executed_notebook = opened.value
    expect(executed_notebook.locator(".js-plotly-plot").first).to_be_visible()

    button(ada, "Approve and promote").click()
    expect(ada.get_by_role("status")).to_contain_text("a decision needs a name and a reason")
    sign(ada, "ada", "gates pass")
    button(ada, "Approve and promote").click()
    expect(ada.get_by_role("status")).to_have_text("v1 is champion")
    expect(bob.locator(".pill.champion").first).to_be_visible()  # by itself
    expect(bob.get_by_text("Nothing waits for a decision")).to_be_visible()
    assert r.champion()["version"] == 1
    assert r.lineage("v1")["approvals"][0]["decided_by"] == "ada"

    waiting(ws, 3)  # v2, v3, v4
    expect(bob.locator(".widget-select option")).to_have_count(3)
    bob.locator(".widget-select select").select_option(index=2)
    sign(bob, "bob", "too few alarms")
    button(bob, "Reject").click()
    expect(bob.get_by_role("status")).to_have_text("v4 is rejected")
    expect(ada.locator(".widget-select option")).to_have_count(2)

    ada.locator(".widget-select select").select_option(index=0)
    bob.locator(".widget-select select").select_option(index=0)
    for who, name in ((ada, "ada"), (bob, "bob")):  # both have v2 before them
        expect(who.get_by_text("v2 becomes champion; v1")).to_be_visible()
        who.get_by_role("tab", name="Scores").click()
        expect(who.locator(".js-plotly-plot").first).to_be_visible()
        sign(who, name, "fewer alarms")
    page.screenshot(path=tmp_path / "panel.png", full_page=True)
    for who in (ada, bob):
        button(who, "Approve and promote").click(no_wait_after=True)
    said = []
    for who in (ada, bob):
        expect(who.get_by_role("status")).to_contain_text("v2")
        expect(who.get_by_role("status")).not_to_have_text("v4 is rejected")
        said.append(who.get_by_role("status").inner_text())
    winner = r.lineage("v2")["approvals"][-1]["decided_by"]
    assert sorted("v1 has retired" in s for s in said) == [False, True], said
    # the one who came second came before or after the promotion of the first
    late = (f"approved by {winner}", "v2 is champion already")
    assert any(text in s for s in said for text in late), said
    assert [v["status"] for v in r.list_model_versions()] == [
        "evaluated",
        "evaluated",
        "champion",
        "retired",
    ]
    assert len(r.events(kind="model_promoted")) == 2

    expect(ada.locator(".widget-select option")).to_have_count(0)  # v3 was asked for against v1
    ada.locator(".widget-dropdown select").first.select_option(label="v3 · evaluated")
    expect(button(ada, "Approve and promote")).to_be_hidden()  # it is not legal now
    button(ada, "Ask again").click()
    expect(ada.locator(".widget-select option")).to_have_text([re.compile(r"v3\s·\swaiting")])
    sign(ada, "ada", "see it beside the champion")
    button(ada, "Try it first").click()
    expect(ada.get_by_role("status")).to_contain_text("v3 is on trial")
    assert r.resolve("challenger")["version"] == 3
    errors = [e for e in page.errors if "font" not in e.lower() and "ERR_FAILED" not in e]
    assert errors == []


def test_an_open_address_needs_a_token_of_its_own(home):
    assert "needs a token of your own" in home.error("panel", "--host", "0.0.0.0")
