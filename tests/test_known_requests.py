"""Requests that a server knows by their bytes: equal answers, counted, and only while they hold."""

import re
import socket
import threading

import pytest
import uvicorn
from conftest import free_port, until

from crypto_anomaly.core.settings import Settings
from crypto_anomaly.core.workspace import open_workspace
from crypto_anomaly.serving.app import _UVICORN, create_app

TOKEN = "t" * 32
GET = b"GET /model/info HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SCAN = b"POST /scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def served(home):
    """The app of a private workspace behind its own server, and the port."""
    ws = open_workspace(Settings(home=home.home, source="simulated", api_token=TOKEN))
    app, port = create_app(ws.settings.model_copy(update=dict(workspace=ws.name))), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, **_UVICORN))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, what="the server to start")
    yield app, port
    server.should_exit = True
    thread.join(30)


def answers(port, *requests):
    """Head and body of each answer, over one connection."""
    found = []
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        for request in requests:
            s.sendall(request)
            data = b""
            while b"\r\n\r\n" not in data:
                data += s.recv(65536)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(re.search(rb"content-length: (\d+)", head)[1])
            while len(body) < length:
                body += s.recv(65536)
            found.append((head, body))
    return found


def lines(head):
    """The lines of a head, without those that change with each answer."""
    own = (b"date:", b"x-request-id:")
    return sorted(line for line in head.split(b"\r\n") if not line.startswith(own))


def hold_still(state, monkeypatch):
    """From now on the store seems to be as it is."""
    key = state.cache_key()
    monkeypatch.setattr(state, "cache_key", lambda trades=False: key)


def counted(app, method, path):
    """How many requests of a path were counted."""
    return sum(
        sample.value
        for metric in app.state.metrics.counters.requests.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
        and (sample.labels["method"], sample.labels["path"]) == (method, path)
    )


@pytest.mark.parametrize("asked", [GET, SCAN], ids=["get", "post"])
def test_a_known_request_has_the_same_answer_and_is_counted(served, asked, monkeypatch):
    app, port = served
    answers(port, asked)  # a scan may fetch
    hold_still(app.state.app_state, monkeypatch)
    front, parsed = app.state.kept, []
    find = front._key
    monkeypatch.setattr(front, "_key", lambda scope: parsed.append(scope["path"]) or find(scope))
    front.kept.clear()
    before = counted(app, *asked.decode().split()[:2])
    first, *others = answers(port, *[asked] * 4)
    assert len(parsed) == 1  # the others were known by their bytes
    assert first[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert all((lines(head), body) == (lines(first[0]), first[1]) for head, body in others)
    ids = {re.search(rb"x-request-id: (\S+)", head)[1] for head, _ in [first, *others]}
    assert len(ids) == 4
    assert counted(app, *asked.decode().split()[:2]) == before + 4


def test_a_scan_with_a_token_is_never_known_by_its_bytes(served, monkeypatch):
    app, port = served
    for_token = SCAN.replace(b"\r\n\r\n", b"\r\nOrigin: http://elsewhere\r\n%s\r\n\r\n")
    with_token = for_token % (b"Authorization: Bearer " + TOKEN.encode())
    answers(port, SCAN)
    hold_still(app.state.app_state, monkeypatch)
    heads = [head for head, _ in answers(port, with_token, with_token)]
    assert [head[9:12] for head in heads] == [b"200", b"200"], heads
    assert with_token not in {raw.data for raw in app.state.kept._keys}


def test_an_event_makes_a_known_answer_old(served, monkeypatch):
    app, port = served
    page = GET.replace(b"/model/info", b"/versions")
    answers(port, page, page)
    front, parsed = app.state.kept, []
    find = front._key
    monkeypatch.setattr(front, "_key", lambda scope: parsed.append(scope["path"]) or find(scope))
    monkeypatch.setattr("crypto_anomaly.serving.state.time.monotonic", lambda: 1e9)  # one second
    answers(port, page, page)
    assert parsed == ["/versions"]
    app.state.app_state._keys.clear()  # a key is good for less than a write takes
    app.state.app_state.registry.point_alias(1, "watched", by="anna")
    answers(port, page, page)
    assert parsed == ["/versions"] * 2
