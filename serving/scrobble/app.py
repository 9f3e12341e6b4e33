"""The scrobbling service as an ASGI application; started by `uvicorn --factory serving.scrobble.app:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from lakehouse.adapters.listen_sender import ListenSender
from lakehouse.adapters.scrobble_tokens import Tokens
from lakehouse.config.settings import Settings, load_settings
from serving.kit.app import build, log_to_stdout
from serving.kit.health import Probe
from serving.scrobble import routes
from serving.scrobble.service import RateLimit, ScrobbleService

DESCRIPTION = """Listens sent live, over the submission API of ListenBrainz: players and scrobblers that let their user
set its address need nothing else. `wavehouse listens token create USER` makes the token."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service on the engines of `settings` (default: the profile of the environment)."""
    log_to_stdout()
    settings = settings or load_settings()
    tokens, sender = Tokens(settings), ListenSender(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        sender.close()
        tokens.close()

    probes = [Probe("tokens", tokens.ping), Probe("kafka", sender.ping)]
    return assemble(settings, ScrobbleService(tokens=tokens, sender=sender), probes=probes, lifespan=lifespan)


def assemble(settings: Settings, service: ScrobbleService, **parts: object) -> FastAPI:
    """The application over a given service; `parts` go to `serving.kit.app.build`."""
    app = build(
        title="Wavehouse scrobbling",
        version="1.0.0",
        description=DESCRIPTION,
        settings=settings,
        routers=[routes.front, routes.router],
        **parts,  # type: ignore[arg-type]
    )
    routes.install_errors(app)
    # Players in a browser: whoever has the token may send, from any page; there are no cookies to abuse.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=routes.RATE_HEADERS,
    )
    app.state.service = service
    app.state.limits = RateLimit()
    return app
