"""What is answered, in the form that ListenBrainz documents."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Welcome(BaseModel):
    """What this is, for who opens the address in a browser."""

    service: str = Field(examples=["Wavehouse scrobbling"])
    about: str = Field(description="What it is for and how to begin")
    paths: list[str] = Field(description="What there is", examples=[["POST /1/submit-listens"]])
    interface: str = Field(description="Path of the OpenAPI document", examples=["/openapi.json"])
    documentation: str = Field(description="File of the repository that explains it")


class Accepted(BaseModel):
    """The listens are safe."""

    status: Literal["ok"] = "ok"


class Validity(BaseModel):
    """Whether a token is known."""

    code: Literal[200] = 200
    message: str = Field(examples=["Token valid."])
    valid: bool
    user_name: str | None = Field(default=None, description="Listener (user_id) of the token")


class Refusal(BaseModel):
    """Why a request was refused."""

    code: int = Field(description="HTTP status code", examples=[400])
    error: str = Field(description="What is wrong", examples=["The body is no JSON"])
