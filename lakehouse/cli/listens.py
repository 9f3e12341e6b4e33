"""`wavehouse listens`: who may send listens live."""

from __future__ import annotations

from typing import Annotated

import typer

from lakehouse.cli.output import Output
from lakehouse.config.settings import load_settings

app = typer.Typer(help="Listens sent live by players and scrobblers.", no_args_is_help=True)
token = typer.Typer(help="Tokens for players: make, list, revoke.", no_args_is_help=True)
app.add_typer(token, name="token")

User = Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="Listener (user_id) it is for.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@token.command()
def create(
    user: User,
    label: Annotated[str, typer.Option(help="Which player it is for, to know it again.")] = "",
    as_json: Json = False,
) -> None:
    """Make a token and show it, this once: only its hash is kept.

    Example: wavehouse listens token create 42 --label "phone"
    """
    from lakehouse.adapters.scrobble_tokens import create as make

    out = Output(as_json=as_json)
    settings = load_settings()
    token_id, made = make(settings, user, label=label)
    out.info(f"Token {token_id} of listener {user}: {made}")
    out.info(f"Give it to the player with the address {settings.scrobble_api.http} (ListenBrainz API).")
    out.result({"token_id": token_id, "user_id": user, "token": made, "address": settings.scrobble_api.http})


@token.command(name="list")
def list_tokens(
    user: Annotated[int | None, typer.Argument(min=1, max=2**63 - 1, help="Only this listener's.")] = None,
    as_json: Json = False,
) -> None:
    """List tokens: number, listener, label, since when, and when revoked.

    Example: wavehouse listens token list 42
    """
    from lakehouse.adapters.scrobble_tokens import tokens

    out = Output(as_json=as_json)
    columns = ("token_id", "user_id", "label", "created_at", "revoked_at")
    rows = [
        [t.token_id, t.user_id, t.label, t.created_at.isoformat(), t.revoked_at.isoformat() if t.revoked_at else None]
        for t in tokens(load_settings(), user)
    ]
    out.table("Tokens", columns, rows)
    out.result([dict(zip(columns, row, strict=True)) for row in rows])


@token.command()
def revoke(
    token_id: Annotated[int, typer.Argument(min=1, help="Number of the token, as `list` shows it.")],
    as_json: Json = False,
) -> None:
    """Make a token invalid; what was sent with it stays.

    Example: wavehouse listens token revoke 3
    """
    from lakehouse.adapters.scrobble_tokens import revoke as stop

    out = Output(as_json=as_json)
    stopped = stop(load_settings(), token_id)
    out.info(f"Token {stopped.token_id} of listener {stopped.user_id} is revoked.")
    out.result({"token_id": stopped.token_id, "user_id": stopped.user_id})
