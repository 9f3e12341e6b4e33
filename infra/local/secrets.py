"""Passwords and keys, generated once into <home>/secrets.toml (mode 600) and kept nowhere else."""

from __future__ import annotations

import base64
import os
import secrets
import tomllib
from pathlib import Path

from pydantic import BaseModel, SecretStr

from lakehouse.config.settings import Settings


def _new(field: str) -> str:
    if field == "fernet_key":  # Fernet wants 32 bytes in URL-safe base64
        return base64.urlsafe_b64encode(os.urandom(32)).decode()
    # Tokens are signed with SHA-512, which wants a key of 64 characters (RFC 7518, section 3.2).
    return secrets.token_hex(32 if field == "jwt_secret" else 16)


def wanted() -> dict[str, list[str]]:
    """Secret fields by settings section: every `SecretStr` in lakehouse.config.settings."""
    sections = {}
    for section, info in Settings.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            fields = [name for name, f in kind.model_fields.items() if f.annotation is SecretStr]
            if fields:
                sections[section] = fields
    return sections


def ensure(path: Path) -> bool:
    """Add what is missing to the secrets file and keep what is there. Returns whether something was added."""
    have = tomllib.loads(path.read_text()) if path.is_file() else {}
    added = False
    for section, fields in wanted().items():
        for field in fields:
            if field not in have.setdefault(section, {}):
                have[section][field] = _new(field)
                added = True
    if added:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            "# Generated at first start. Changing a value here does not change it in a database that exists already.\n"
        ]
        for section, values in have.items():
            lines.append(f"\n[{section}]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items()))
        scratch = path.with_name(".secrets.new")
        scratch.touch(mode=0o600)
        scratch.write_text("".join(lines))
        scratch.replace(path)
    return added
