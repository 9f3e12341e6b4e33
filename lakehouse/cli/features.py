"""`wavehouse features`: what the audio sounds like, from the audio objects to the online feature store."""

from __future__ import annotations

import typer

app = typer.Typer(help="Features of the audio.", no_args_is_help=True)
