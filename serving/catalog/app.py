"""The catalogue service as an ASGI application; started by `uvicorn --factory serving.catalog.app:create_app`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from lakehouse.adapters.catalog_reader import CatalogReader
from lakehouse.adapters.clickhouse import LiveCounts
from lakehouse.adapters.feature_store import FeatureStore
from lakehouse.config.settings import Settings, load_settings
from serving.catalog import pages, routes
from serving.catalog.service import CatalogService
from serving.kit.app import build, log_to_stdout
from serving.kit.health import Probe

DESCRIPTION = """Tracks, artists and what listeners play right now.

Ids are 63-bit integers, sent as strings. Times are UTC. Errors are problem documents (RFC 9457).
Reading only: nothing here changes anything. The service holds no state; an engine that is away costs what it gives
and no more (`unavailable` names it), or is answered with 503 and `Retry-After`."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The service on the engines of `settings` (default: the profile of the environment)."""
    log_to_stdout()
    settings = settings or load_settings()
    catalog, features, live = CatalogReader(settings), FeatureStore(settings), LiveCounts(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for engine in (catalog, features, live):
            engine.close()

    probes = [
        Probe("catalog", catalog.ping),
        Probe("features", features.ping, required=False),
        Probe("live", live.ping, required=False),
    ]
    return assemble(
        settings, CatalogService(catalog=catalog, features=features, live=live), probes=probes, lifespan=lifespan
    )


def assemble(settings: Settings, service: CatalogService, **parts: object) -> FastAPI:
    """The application over a given service; `parts` go to `serving.kit.app.build`."""
    app = build(
        title="Wavehouse catalogue",
        version="1.0.0",
        description=DESCRIPTION,
        settings=settings,
        routers=[routes.catalog, routes.live, pages.router],
        **parts,  # type: ignore[arg-type]
    )
    app.state.service = service
    return app
