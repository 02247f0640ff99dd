"""Attacks on one machine: raw sockets, foreign names, stolen tokens, bombs. Loopback only."""

import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import Cli, free_port, stop, wait_for
from test_browser import page  # noqa: F401  a fixture

from crypto_anomaly.core.settings import Settings, WorkspaceError, load_settings
from crypto_anomaly.core.workspace import claim, open_workspace
from crypto_anomaly.lifecycle.alert_sinks import deliver
from crypto_anomaly.registry.registry import open_registry

API_TOKEN = "t0ken-of-the-workspace-" + "x" * 16


@contextmanager
def serving(cli, *args, **settings):
    """The port of a server over a workspace, and its process."""
    port = free_port()
    cli.env |= {f"CRYPTO_ANOMALY_{k.upper()}": str(v) for k, v in settings.items()}
    server = cli.start("serve", "--port", str(port), *args)
    try:
        wait_for(f"http://127.0.0.1:{port}/health/live")
        yield port, server
    finally:
        stop(server)


@pytest.fixture
def empty(tmp_path):
    """A workspace without data or models."""
    cli = Cli(tmp_path / "home", source="simulated")
    claim(open_workspace(Settings(home=cli.home, source="simulated")), "simulated")
    return cli


def ask(port, path, token=None, method=None, **headers):
    """The status of a request, and its body."""
    sent = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers=sent | headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def memory(process):
    """Most memory that a process has taken, in MB."""
    with open(f"/proc/{process.pid}/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def send_big(port, *headers, megabytes=200, chunked=False):
    """Send a body until the server has enough; the status of the answer."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {megabytes << 20}"
    lines = ["POST /models/assets/anomaly_detector/promote HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    head = "\r\n".join([*lines, "Content-Type: application/json", length, *headers, "", ""])
    piece = b"a" * (1 << 20)
    framed = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        try:
            s.sendall(head.encode())
            for _ in range(megabytes):
                s.sendall(framed)
        except ConnectionError:
            pass  # the server has heard enough
        return int(s.recv(4096).split(b" ")[1])


def test_big_bodies_are_not_read(empty):
    with serving(empty, api_token=API_TOKEN) as (port, server):
        ask(port, "/health")
        before = memory(server)
        token = f"Authorization: Bearer {API_TOKEN}"
        statuses = [
            send_big(port),
            send_big(port, chunked=True),
            send_big(port, token),
            send_big(port, token, chunked=True),
        ]
        assert statuses == [401, 401, 413, 413]
        assert memory(server) - before < 50


def test_silent_and_slow_connections_are_closed(empty):
    with serving(empty) as (port, _):
        start = time.monotonic()
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        slow = socket.create_connection(("127.0.0.1", port))
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert ask(port, "/health/live")[0] == 200  # others are served meanwhile
        closed = 0
        while closed < len(silent) and time.monotonic() - start < 30:
            time.sleep(0.5)
            try:
                slow.sendall(b"X")
            except ConnectionError:
                slow = None
                break
        for s in silent:
            s.settimeout(10)
            assert s.recv(1) == b""
        assert slow is None
        assert time.monotonic() - start < 30


def test_a_slow_body_is_not_waited_for(empty):
    with serving(empty, api_token=API_TOKEN) as (port, _):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
            head = ["POST /approve HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Length: 100"]
            s.sendall("\r\n".join([*head, f"Authorization: Bearer {API_TOKEN}", "", "a"]).encode())
            assert int(s.recv(4096).split(b" ")[1]) == 408


def test_a_foreign_name_is_refused(empty):
    with serving(empty, allowed_hosts="market.example.org") as (port, _):
        asked = {
            host: ask(port, "/health", Host=host)[0]
            for host in ("evil.example", "market.example.org", f"localhost:{port}", "127.0.0.1@x")
        }
    assert asked["evil.example"] == asked["127.0.0.1@x"] == 400
    assert asked["market.example.org"] == asked[f"localhost:{port}"] == 503  # healthy or not


def test_tokens_have_names_and_roles_and_end(home):
    with serving(home, "--host", "0.0.0.0", api_token=API_TOKEN) as (port, server):
        ada = home("token", "add", "--name", "ada", "--role", "decide").stdout.strip()
        bob = home("token", "add", "--name", "bob", "--role", "read").stdout.strip()
        assert [t["name"] for t in home.json("token", "list")] == ["ada", "bob"]
        assert ask(port, "/health")[0] == 200
        for path in ("/anomalies", "/", "/runs/x/train.html", "/metrics", "/docs"):
            assert ask(port, path)[0] == 401, path
        assert ask(port, "/anomalies", bob)[0] == 200
        approve = "/approve?version=v1&reason=gates&by=eve"
        assert ask(port, approve, bob, "POST")[0] == 403
        assert ask(port, approve, method="POST")[0] == 401
        assert ask(port, approve, ada, "POST")[0] == 200
        home("token", "revoke", "ada")
        assert ask(port, "/anomalies", ada)[0] == 401
        assert ask(port, "/anomalies", API_TOKEN)[0] == 200
        said = server.said()
    registry = open_registry(open_workspace(Settings(home=home.home, source="simulated")))
    assert registry.lineage("v1")["approvals"][0]["decided_by"] == "ada"
    assert not any(token in said for token in (ada, bob, API_TOKEN))


def test_pages_beyond_loopback_ask_for_a_token(home, page):  # noqa: F811
    from playwright.sync_api import expect

    with serving(home, "--host", "0.0.0.0", api_token=API_TOKEN) as (port, _):
        bob = home("token", "add", "--name", "bob", "--role", "read").stdout.strip()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("This page needs a token")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("status")).to_contain_text("not known")
        page.get_by_label("Token").fill(bob)
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("in the last 24 h")
        expect(page.locator("#map .scatterlayer")).to_be_visible()
        page.get_by_role("link", name="executed notebook").first.click()
        expect(page.locator(".js-plotly-plot").first).to_be_visible()
        refused = [e for e in page.errors if "401" not in e]
        assert not refused, refused


def test_a_report_is_drawn_and_confined(home, page):  # noqa: F811
    from playwright.sync_api import expect

    with serving(home) as (port, _):
        at = f"http://127.0.0.1:{port}"
        page.goto(f"{at}/cards/evaluate/latest")
        expect(page.locator(".js-plotly-plot").first).to_be_visible()
        font = "getComputedStyle(document.body).fontFamily"
        assert "Times" not in page.evaluate(font)  # the style sheet is there
        assert page.evaluate("origin") == "null"
        page.goto(f"{at}/cards#beside")
        page.locator("form[action='/cards#beside'] button").click()
        frame = page.frame_locator("iframe").first
        expect(frame.locator("main")).to_contain_text("crypto_anomaly")
        for path in ("/docs", "/redoc"):
            page.goto(at + path)
            expect(page.get_by_text("/anomalies").first).to_be_visible()
        ours = [e for e in page.errors if "cdn.redoc.ly" not in e]  # its logo may not be loaded
        assert not ours, ours
        page.goto(f"{at}/coins")
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.broken = true'}))"
        )
        assert page.evaluate("window.broken === undefined")


def test_no_secret_is_shown(tmp_path):
    secrets = dict(
        api_token="S3CRET-one",
        coingecko_api_key="S3CRET-two",
        alert_webhook_secret="S3CRET-three",
        alert_webhook_url="https://127.0.0.1:9/S3CRET-four",
        db_url="postgresql://ada:S3CRET-five@127.0.0.1:9/market",
        trades_url="postgresql://ada:S3CRET@six@127.0.0.1:9/market",
        redis_url="redis://:S3CRET-seven@127.0.0.1:9/0",
        lake_url="s3://KEY:S3CRET-eight@bucket/lake",
        mlflow_tracking_uri="http://ada:S3CRET-nine@127.0.0.1:9",
    )
    settings = Settings(home=tmp_path / "home", source="simulated", **secrets)
    shown = [repr(settings), str(settings), repr(open_workspace(settings))]
    cli = Cli(tmp_path / "home", source="simulated", log_level="DEBUG", **secrets)
    claim(open_workspace(settings), "simulated")
    for command in (["status"], ["doctor"], ["versions"], ["trades"], ["alerts", "send"]):
        r = subprocess.run(
            [
                sys.executable,
                "-c",
                "from crypto_anomaly.serving.program import main; main()",
                *command,
            ],
            env=cli.env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in r.stderr, (command, r.stderr)
        shown += [r.stdout, r.stderr]
    assert not any("S3CRET" in text for text in shown), [t for t in shown if "S3CRET" in t]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:S3CRET@host:port/market",
        "postgresql://ada:S3CR:ET@host/market",
        "postgres//ada:S3CRET@host/market",
        "ada:S3CRET@host",
        "rediz://ada:S3CRET@host",
        "postgresql://ada:S3CRET word@host/market",
    ],
)
def test_a_malformed_address_keeps_its_password(tmp_path, url):
    cli = Cli(tmp_path / "home", source="simulated")
    claim(open_workspace(Settings(home=cli.home, source="simulated")), "simulated")
    said = cli("versions", ok=False, db_url=url).stderr
    assert "Traceback" not in said, said
    assert "S3CRET" not in said and "S3CR" not in said, said


def test_a_mistyped_key_is_named_without_its_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "crypto_anomaly.toml"
    for text in ('api_tokn = "S3CRET"', "api_token = 53", '[serving]\napi_token = "S3CRET"'):
        file.write_text(text)
        with pytest.raises(WorkspaceError, match="(?i)api_tok|serving") as e:
            load_settings()
        assert "S3CRET" not in str(e.value) and "53" not in str(e.value)


def test_messages_stay_away_from_private_networks(tmp_path, caplog):
    here = dict(home=tmp_path, source="simulated", public_url="https://market.example.org")
    registry = open_registry(claim(open_workspace(Settings(**here)), "simulated"))
    registry.publish("drift_detected", None, "x", problems=["inputs have moved"])
    port = free_port()
    for url in (
        f"http://127.0.0.1:{port}/",
        f"http://localhost:{port}/",
        "http://10.0.0.5/",
        "http://[::ffff:10.0.0.5]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0x7f000001/",
    ):
        sent = deliver(registry, Settings(alert_webhook_url=url, **here))
        assert sent["webhook"] == 0
        assert "nothing is sent there" in caplog.messages[-1], (url, caplog.messages[-1])


BOMBS = """
import resource, sys
from crypto_anomaly.model.artifact import from_bytes
from crypto_anomaly.model.errors import ModelError
data = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    from_bytes(data)
except ModelError as e:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, e)
"""


def bombs():
    """Artifacts that would take gigabytes."""

    def packed(write):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z:
            write(z)
        return file.getvalue()

    def header(shape, content=b""):
        file = io.BytesIO()
        facts = dict(descr="<f8", fortran_order=False, shape=shape)
        np.lib.format.write_array_header_1_0(file, facts)
        return file.getvalue() + content

    def zeros(z):
        with z.open("calibration.npy", "w", force_zip64=True) as file:
            file.write(header((1 << 28,)))
            for _ in range(32):
                file.write(bytes(64 << 20))

    return dict(
        zeros=packed(zeros),
        absurd=packed(lambda z: z.writestr("calibration.npy", header((10**14,)))),
        many=packed(lambda z: [z.writestr(f"d_{i}.npy", header((0,))) for i in range(60_000)]),
        text=packed(lambda z: z.writestr("meta.npy", header((1 << 23,), bytes(64 << 20)))),
    )


def test_bombs_take_no_memory(tmp_path, record_property):
    record_property("attempts", len(bombs()))
    for name, data in bombs().items():
        path = tmp_path / name
        path.write_bytes(data)
        r = subprocess.run(
            [sys.executable, "-c", BOMBS, str(path)], capture_output=True, text=True, timeout=120
        )
        grown, _, message = r.stdout.partition(" ")
        assert message, (name, r.stderr)
        assert int(grown) < 60_000, (name, grown, message)  # kilobytes


def test_odd_names_are_links_that_lead_somewhere(home):
    from crypto_anomaly.serving.rendering import path_segment

    with serving(home) as (port, _):
        status, text = ask(port, f"/coins/{path_segment('a/b <c>')}")
        assert status == 404 and "a/b <c>" in json.loads(text)["detail"]
        status, text = ask(port, f"/coins/{path_segment('a/b <c>')}", Accept="text/html")
        assert status == 404 and "<c>" not in text and re.search("a/b &lt;c&gt;", text)
