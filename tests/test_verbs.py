"""The verbs of the lifecycle on five surfaces: Python, command line, HTTP, page and panel.

Both models have versions of the same numbers and statuses. Each act is on the trade model, and the
market model stays as it is.
"""

import re
import shutil
import threading
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.main import get_command

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.registry.errors import RegistryError
from crypto_anomaly.registry.queue import decision_queue
from crypto_anomaly.registry.registry import open_registry
from crypto_anomaly.registry.verbs import Verb
from crypto_anomaly.serving.approval_queue import approval_queue
from crypto_anomaly.serving.cli_lifecycle import lifecycle_commands
from crypto_anomaly.serving.error_handlers import add_error_handlers
from crypto_anomaly.serving.lifecycle_routes import lifecycle_router, verbs_router
from crypto_anomaly.serving.page_routes import page_router
from crypto_anomaly.serving.panel import PromotionPanel
from crypto_anomaly.serving.state import AppState

MODEL, OTHER = "trade_detector", "anomaly_detector"
HOLDOUT = dict(passed=True, gates=[], dataset="recorded hours", compared_to="champion")
WORSE = dict(comparison=dict(verdict="worse"))
GUIDE = Path(__file__).parents[1] / "nbs/guides/lifecycle.ipynb"


def live(r):
    """v1 was champion, v2 is, v3 waits, v4 is approved, v5 passed, v6 did not, v7 is worse."""
    for n in range(1, 8):
        r.register("ab" * 32, {})
        if n == 6:
            continue
        against = HOLDOUT if n > 1 else HOLDOUT | dict(compared_to=None)
        r.record_evaluation(n, metrics=WORSE if n == 7 else {}, **against)
        if n in (1, 2, 3, 4, 7):
            r.request_approval(n, by="pipeline")
        if n in (1, 2, 4):
            r.approve(n, by="bob", reason="gates pass")
        if n in (1, 2):
            r.promote(n, by="bob")


LEGAL = {  # a version that allows the verb
    Verb.request: 5,
    Verb.approve: 3,
    Verb.reject: 3,
    Verb.challenge: 5,
    Verb.end_trial: 5,
    Verb.promote: 4,
    Verb.rollback: 2,
    Verb.retire: 5,
    Verb.alias: 5,
}
ILLEGAL = dict.fromkeys(Verb, 6) | {Verb.end_trial: 4, Verb.retire: 2}
EVENTS = {
    Verb.request: "approval_requested",
    Verb.approve: "model_approved",
    Verb.reject: "model_rejected",
    Verb.challenge: "model_challenged",
    Verb.end_trial: "trial_ended",
    Verb.promote: "model_promoted",
    Verb.rollback: "model_rolled_back",
    Verb.retire: "model_retired",
    Verb.alias: "alias_moved",
}


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    home = tmp_path_factory.mktemp("verbs")
    ws = claim(open_workspace(Settings(home=home, source="simulated")), "simulated")
    for model in (MODEL, OTHER):
        live(open_registry(ws, model))
    return home


@pytest.fixture
def ws(lived, tmp_path, monkeypatch):
    """A private copy of that workspace, which the command line works in too."""
    shutil.copytree(lived, tmp_path / "home")
    monkeypatch.setenv("CRYPTO_ANOMALY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CRYPTO_ANOMALY_SOURCE", "simulated")
    monkeypatch.setattr("crypto_anomaly.core.logs.setup_logging", id)  # the handlers are pytest's
    return open_workspace(Settings(home=tmp_path / "home", source="simulated"))


class Python:
    """Methods of the registry."""

    def __init__(self, ws):
        self.ws = ws

    def act(self, verb, version, by="ada", reason="why", model=MODEL, **kw):
        """What is refused, '' where it is done."""
        try:
            r = open_registry(self.ws, model)
            is_champion = verb == Verb.rollback and version == 2
            call = {
                Verb.request: lambda: r.request_approval(version, by=by, notes=reason),
                Verb.rollback: lambda: r.rollback(
                    by=by, reason=reason, to=None if is_champion else version
                ),
                Verb.alias: lambda: r.point_alias(version, "staging", by=by, reason=reason),
            }
            method = getattr(r, verb.name, None)
            call.get(verb, lambda: method(version, by=by, reason=reason, **kw))()
        except RegistryError as e:
            return str(e)
        return ""


class Cli(Python):
    """`crypto-anomaly VERB`."""

    def act(self, verb, version, by="ada", reason="why", model=MODEL, confirm_worse=False):
        ref = [str(version)]
        if verb == Verb.rollback:
            ref = [] if version == 2 else ["--to", str(version)]
        if verb == Verb.alias:
            ref.append("staging")
        options = ["--by", by, "--reason", reason, "--model", model]
        options += ["--even-if-worse"] if confirm_worse else []
        try:  # without a runner, which would replace the streams of the other threads too
            code = get_command(lifecycle_commands)(
                [verb.value, *ref, *options], standalone_mode=False
            )
        except RegistryError as e:
            return str(e)
        assert not code
        return ""


class Http(Python):
    """`POST /models/assets/{name}/{verb}`."""

    def __init__(self, ws):
        app = FastAPI()
        app.state.app_state = AppState(ws)
        add_error_handlers(app)
        for router in (verbs_router, lifecycle_router, page_router):
            app.include_router(router)
        here = dict(base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
        self.client = TestClient(app, **here, headers={"Authorization": f"Bearer {ws.api_token}"})

    def act(self, verb, version, by="ada", reason="why", model=MODEL, **kw):
        body = dict(version=str(version), by=by, reason=reason, expect_champion="v2") | kw
        if verb == Verb.alias:
            body |= dict(alias="staging", expect_champion=None)
        return self.post(verb, model, body)

    def post(self, verb, model, body):
        """The sentence of a refusal, '' where it is done."""
        self.answer = self.client.post(f"/models/assets/{model}/{verb}", json=body)
        return "" if self.answer.status_code == 200 else self.answer.json()["detail"]


class Forms(HTMLParser):
    """The forms of a page, with what `page.js` reads of them."""

    def __init__(self):
        super().__init__()
        self.forms, self.inside = {}, None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form":
            self.inside = attrs | dict(buttons=[])
            self.forms[attrs.get("data-model"), attrs.get("data-decide")] = self.inside
        elif tag == "button" and attrs.get("value") and self.inside:
            self.inside["buttons"].append(attrs["value"])


class Page(Http):
    """The form on the page of a version, sent as `page.js` sends it."""

    def act(self, verb, version, by="ada", reason="why", model=MODEL, confirm_worse=False):
        forms = Forms()
        page = self.client.get(f"/models/{model}/v{version}", headers={"accept": "text/html"})
        forms.feed(page.text)
        form = forms.forms.get((model, f"v{version}"), dict(buttons=[]))
        if verb.value not in form["buttons"]:
            return "no button"
        if verb == Verb.approve and form["data-worse"] and not confirm_worse:
            return f"second question: {unescape(form['data-worse'])}"
        body = dict(version=f"v{version}", by=by, reason=reason, confirm_worse=confirm_worse)
        if verb in (Verb.approve, Verb.reject):
            body["request"] = int(form["data-request"])
        if verb == Verb.rollback:
            body |= dict(from_version=form["data-champion"])
        if verb == Verb.alias:
            body["alias"] = "staging"
        return self.post(verb, model, body)


class Panel(Python):
    """The buttons of the panel."""

    def act(self, verb, version, by="ada", reason="why", model=MODEL, confirm_worse=False):
        panel = PromotionPanel(self.ws, model=OTHER, who=by)
        key = (model, version)
        (panel.queue if key in panel.requests else panel.others).value = key
        panel.reason.value, panel.alias.value = reason, "staging"
        button = panel.buttons[Verb.approve if verb == Verb.promote else verb]
        if button.layout.display == "none":
            return "no button"
        button.click()
        if confirm_worse and panel.confirmation.layout.display is None:
            panel.yes.click()
        asks = panel.confirmation.layout.display is None
        said = unescape(re.sub("<[^>]+>", "", panel.message.value))
        if asks:
            return f"second question: {said}"
        return "" if "class='result ok'" in panel.message.value else said


SURFACES = dict(Python=Python, CLI=Cli, HTTP=Http, page=Page, panel=Panel)
every_surface = pytest.mark.parametrize("surface", SURFACES)


def statuses(ws, model):
    return {v["version"]: v["status"] for v in open_registry(ws, model).list_model_versions()}


@every_surface
@pytest.mark.parametrize("verb", Verb, ids=str)
def test_a_verb_is_done_with_a_name_and_a_reason(ws, verb, surface):
    r, before = open_registry(ws, MODEL), statuses(ws, OTHER)
    if verb == Verb.end_trial:
        r.challenge(5, by="bob")
    assert verb in r.legal_verbs(LEGAL[verb])
    assert SURFACES[surface](ws).act(verb, LEGAL[verb]) == ""
    event = r.events(kind=EVENTS[verb])[0]
    said = event["payload"].get("reason") or event["payload"].get("notes")
    assert (event["model"], event["actor"], said) == (MODEL, "ada", "why")
    assert statuses(ws, OTHER) == before


@pytest.mark.parametrize("verb", Verb, ids=str)
def test_a_refusal_says_the_same_everywhere(ws, verb):
    r, version = open_registry(ws, MODEL), ILLEGAL[verb]
    sentence = r.refusals(version)[verb]
    events = len(r.events(limit=1000))
    said = {name: surface(ws).act(verb, version) for name, surface in SURFACES.items()}
    assert sentence
    assert said == dict.fromkeys(said, sentence) | dict(page="no button", panel="no button")
    assert len(r.events(limit=1000)) == events


@pytest.mark.parametrize("verb", [Verb.approve, Verb.challenge], ids=str)
@pytest.mark.parametrize("blank", ["", "\u2800\u200b\u3000"], ids=ascii)
def test_an_empty_name_or_reason_is_refused_in_the_same_words(ws, verb, blank):
    for empty in (dict(by=blank), dict(reason=blank or " ")):
        said = {n: s(ws).act(verb, LEGAL[verb], **empty) for n, s in SURFACES.items()}
        assert len(set(said.values())) == 1, said
        assert "needs a name and a reason (--by WHO --reason WHY); got by=" in said["HTTP"]


@every_surface
def test_what_is_worse_is_approved_by_a_second_answer(ws, surface):
    act, r = SURFACES[surface](ws).act, open_registry(ws, MODEL)
    worse = r.worse_than_champion(7)
    assert worse == "v7 is worse than the champion v2 on recorded hours"
    assert worse in act(Verb.approve, 7)
    assert r.events(kind="model_approved")[0]["version"] == 4
    assert act(Verb.approve, 7, confirm_worse=True) == ""
    approved = r.events(kind="model_approved")[0]
    assert (approved["version"], approved["payload"]["confirmed_worse"]) == (7, worse)


@every_surface
def test_a_rejection_ends_the_trial_and_can_be_asked_for_again(ws, surface):
    act, r = SURFACES[surface](ws).act, open_registry(ws, MODEL)
    r.challenge(3, by="bob")
    assert act(Verb.reject, 3) == ""
    assert r.resolve(3)["status"] == "evaluated"
    assert [e["actor"] for e in r.events(kind="trial_ended")] == ["ada"]
    assert act(Verb.request, 3) == act(Verb.request, 1) == ""  # v1 has retired


def test_what_is_not_there_is_one_sentence(ws):
    http, cli, python = Http(ws), Cli(ws), Python(ws)
    cases = [
        (dict(model="nose"), 404, "there is no model 'nose'; there are anomaly_detector, trade"),
        (dict(version="v99"), 404, "there is no trade_detector"),
        (dict(version=f"{OTHER}:v3"), 404, f"another model than {MODEL}; to act on it: --model"),
        (dict(version="\u200b"), 422, "say which version of trade_detector"),
    ]
    for changed, status, sentence in cases:
        asked = dict(verb=Verb.approve, version="v3") | changed
        said = [surface.act(**asked) for surface in (http, cli, python)]
        assert re.sub(r"'v?99'", "99", said[0]) == re.sub(r"'v?99'", "99", said[1]), said
        assert sentence in said[0] and said[1] == said[2]
        assert http.answer.status_code == status
    with pytest.raises(RegistryError, match="there is no model 'nose'"):
        PromotionPanel(ws, model="nose")


@every_surface
def test_evidence_that_has_moved_is_not_decided(ws, surface):
    """The panel and the page draw no button for it, the others say why."""
    r = open_registry(ws, MODEL)
    r.record_evaluation(3, metrics={}, **HOLDOUT)
    said = SURFACES[surface](ws).act(Verb.approve, 3)
    expected = "the request for v3 is stale: v3 has been evaluated again since"
    assert (said == "no button") if surface in ("page", "panel") else (expected in said)
    assert (MODEL, 3) not in [(q["model"], q["version"]) for q in decision_queue(ws)]


def test_page_panel_and_http_show_one_queue(ws):
    registries = [open_registry(ws, model) for model in (OTHER, MODEL)]
    registries[0].record_evaluation(3, metrics={}, **HOLDOUT)  # its request closes itself
    queue = [(q["model"], q["version"]) for q in decision_queue(ws)]
    drawn, others = approval_queue(ws, registries)
    page = [(q["model"], q["version"]) for q in drawn] + [(q.model, q.version) for q in others]
    http = [(q["model"], q["version"]) for q in Http(ws).client.get("/api/models/queue").json()]
    assert [key for _, key in PromotionPanel(ws).queue.options] == http == page == queue
    assert sorted(queue) == [(OTHER, 4), (OTHER, 7), (MODEL, 3), (MODEL, 4), (MODEL, 7)]


def test_page_and_command_line_at_once_one_wins(ws):
    r = open_registry(ws, MODEL)
    page, cli, barrier = Page(ws), Cli(ws), threading.Barrier(2)
    for _ in range(6):
        request, said = r.request_approval(3, by="pipeline"), SimpleNamespace()
        body = dict(version="v3", by="pia", reason="no", request=request)

        def click(said=said, body=body):
            barrier.wait(10)
            said.page = page.post(Verb.reject, MODEL, body)

        clicks = threading.Thread(target=click)
        clicks.start()
        barrier.wait(10)
        said.cli = cli.act(Verb.approve, 3, by="carl")
        clicks.join(20)
        assert sorted([said.page == "", said.cli == ""]) == [False, True]
        approved = said.cli == ""
        winner = "approved by carl" if approved else "rejected by pia"
        assert f"v3 (evaluated) was {winner} at " in (said.page if approved else said.cli)
        decided = [a for a in r.lineage(3)["approvals"] if a["id"] == request]
        assert [a["decision"] for a in decided] == [winner.split()[0]]


def verbs_table():
    """The table of the guide: verb, surface, and the test that shows it."""
    test = test_a_verb_is_done_with_a_name_and_a_reason.__name__
    rows = [f"| verb | {' | '.join(SURFACES)} |", "|---" * (1 + len(SURFACES)) + "|"]
    for verb in Verb:
        rows.append(f"| {verb} | " + " | ".join(f"`[{s}-{verb}]`" for s in SURFACES) + " |")
    return test, rows


def test_the_guide_has_the_table_of_these_tests():
    test, rows = verbs_table()
    text = GUIDE.read_text()
    assert [part for part in (test, *rows) if part not in text] == []


if __name__ == "__main__":
    print("\n".join(verbs_table()[1]))
