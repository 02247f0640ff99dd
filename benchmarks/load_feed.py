"""An exchange on loopback that sends trades of many products at a steady rate, in Coinbase's words.

`python benchmarks/load_feed.py PORT PRODUCTS RATE`. Each product gets its trades in turn, with ids
from 1 on. One port serves the feed, the pages of trades (`/products/{id}/trades?after=&limit=`),
the list (`/products`), `/sent`: how many trades of each product were sent, and `/subscribed`: how
many products somebody listens to. `/go` begins and
`/pause` ends the trades; heartbeats go on. The process ends with its standard input, so that it
outlives nobody.
"""

import asyncio
import json
import os
import sys
import threading
import time
from array import array
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

TICK = 0.02  # seconds between two portions
_MATCH = (
    '{"type":"%s","trade_id":%d,"maker_order_id":"m-%d","taker_order_id":"t-%d","side":"%s",'
    '"size":"0.01000000","price":"%.4f","product_id":"%s","sequence":%d,"time":"%s"}'
)
_BEAT = '{"type":"heartbeat","sequence":0,"last_trade_id":%d,"product_id":"%s","time":"%s"}'


def wire_time(t: float) -> str:
    """Seconds since 1970 as Coinbase writes them."""
    return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Exchange:
    """What was traded: the time of every trade; the rest follows from its number."""

    def __init__(self, n: int, rate: float) -> None:
        self.names = [f"P{i:03d}-USD" for i in range(n)]
        self.times = {name: array("d") for name in self.names}
        self.rate, self.clients = rate, dict[ServerConnection, set[str]]()
        self.paused = False

    def message(self, name: str, i: int, kind: str = "match") -> str:
        """One trade; every 40 trades the price turns."""
        at, side = self.times[name][i - 1], "sell" if i % 3 else "buy"
        price = 100 + 0.01 * abs(i % 80 - 40)
        return _MATCH % (kind, i, i, i // 2, side, price, name, 3 * i, wire_time(at))

    def page(self, name: str, after: int | None, limit: int) -> list[dict[str, Any]]:
        """Trades below an id, newest first."""
        newest = len(self.times[name]) if after is None else min(after - 1, len(self.times[name]))
        ids = range(newest, max(0, newest - limit), -1)
        return [json.loads(self.message(name, i)) for i in ids]

    async def trade(self) -> None:
        """Trade for ever, and send each trade to whom it concerns."""
        began, done, n = time.monotonic(), 0, len(self.names)
        while True:
            await asyncio.sleep(TICK)
            due = int((time.monotonic() - began) * self.rate)
            if self.paused:
                began, done = time.monotonic() - due / self.rate, due
                continue
            for i in range(done, due):
                await self.trade_once(self.names[i % n])
            done = due

    async def trade_once(self, name: str) -> None:
        """One trade of a product."""
        self.times[name].append(time.time())
        text = None
        for socket, wanted in list(self.clients.items()):
            if name in wanted:
                text = text or self.message(name, len(self.times[name]))
                self.put(socket, frame(text))

    async def beat(self) -> None:
        """A heartbeat a second of each product."""
        while True:
            await asyncio.sleep(1)
            now = wire_time(time.time())
            for socket, wanted in list(self.clients.items()):
                beats = [_BEAT % (len(self.times[name]), name, now) for name in wanted]
                self.put(socket, b"".join(frame(text) for text in beats))

    def put(self, socket: ServerConnection, data: bytes) -> None:
        """Send without waiting for a slow client: its queue is its own; one that leaves is gone."""
        try:
            socket.transport.write(data)
        except RuntimeError:  # it has said that it leaves
            self.clients.pop(socket, None)

    async def client(self, socket: ServerConnection) -> None:
        """Serve one client."""
        try:
            async for text in socket:
                m = json.loads(text)
                asked = [p for p in m["product_ids"] if p in self.times]
                wanted = self.clients.setdefault(socket, set())
                if m["type"] == "unsubscribe":
                    wanted.difference_update(asked)
                    continue
                for name in asked:
                    if self.times[name]:
                        await socket.send(self.message(name, len(self.times[name]), "last_match"))
                    wanted.add(name)
        except ConnectionClosed:
            return
        finally:
            self.clients.pop(socket, None)

    def answer(self, socket: ServerConnection, request: Request) -> Response | None:
        """The pages; None for the feed itself."""
        path = urlsplit(request.path)
        if path.path == "/ws-feed":
            return None
        body: Any = self.body(path.path, parse_qs(path.query))
        return socket.respond(HTTPStatus.OK, json.dumps(body))

    def body(self, path: str, query: dict[str, list[str]]) -> Any:
        """JSON of a page."""
        if path == "/sent":
            return {name: len(times) for name, times in self.times.items()}
        if path in ("/pause", "/go"):
            self.paused = path == "/pause"
            return self.paused
        if path == "/subscribed":
            return sum(len(wanted) for wanted in self.clients.values())
        if path == "/products":
            coin = dict(quote_currency="USD", status="online", trading_disabled=False)
            return [coin | dict(id=p, base_currency=p.split("-")[0]) for p in self.names]
        if path == "/products/volume-summary":
            return [dict(id=p, spot_volume_24hour="1") for p in self.names]
        if path == "/products/spark-lines":
            return {p: [[0, 100, 100, 100, 100]] for p in self.names}
        after = int(query["after"][0]) if "after" in query else None
        return self.page(path.split("/")[2], after, int(query.get("limit", ["1000"])[0]))


def frame(text: str) -> bytes:
    """An unmasked text frame (RFC 6455, section 5.2)."""
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, len(data))) + data
    return bytes((0x81, 126)) + len(data).to_bytes(2, "big") + data


def end_with_parent() -> None:
    """End when the standard input does."""
    sys.stdin.read()
    os._exit(0)


async def main(port: int, n: int, rate: float) -> None:
    """Serve until the parent has ended."""
    exchange = Exchange(n, rate)
    exchange.paused = True  # until `/go`
    threading.Thread(target=end_with_parent, daemon=True).start()
    options = dict(process_request=exchange.answer, compression=None, ping_interval=None)
    async with serve(exchange.client, "127.0.0.1", port, **options):
        print("ready", flush=True)
        await asyncio.gather(exchange.trade(), exchange.beat())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
