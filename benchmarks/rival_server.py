"""What a server costs that only sends stored bytes: `rival_server.py STYLE FILE PORT`.

STYLE `starlette`: one route of plain Starlette. STYLE `asgi`: three lines of bare ASGI.
Both run under uvicorn, as ours does.
"""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STYLE, FILE, PORT = sys.argv[1:]
BODY = Path(FILE).read_bytes()
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def answer(request: Request) -> Response:
    """The stored bytes."""
    return Response(BODY, media_type="application/json")


async def bare(scope, receive, send) -> None:
    """The stored bytes, at every address."""
    assert scope["type"] == "http"
    await send(dict(type="http.response.start", status=200, headers=HEADERS))
    await send(dict(type="http.response.body", body=BODY))


if __name__ == "__main__":
    routes = [Route("/health", answer), Route("/anomalies", answer)]
    app = bare if STYLE == "asgi" else Starlette(routes=routes)
    lifespan = "off" if STYLE == "asgi" else "auto"
    uvicorn.run(app, port=int(PORT), log_level="warning", access_log=False, lifespan=lifespan)
