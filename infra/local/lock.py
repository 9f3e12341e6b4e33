"""Writes the SHA-256 of every Maven artifact into engines.lock.yaml: `python -m infra.local.lock`.

Run it after changing a version, look at the diff, commit. It edits the text line by line, so that comments stay.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from infra.local.engines import LOCK_FILE, EngineError, download, load_lock, sha256_of

COORDINATE = re.compile(r"^(?P<indent>\s*)- coordinate: (?P<coordinate>\S+)\s*$")
CHECKSUM = re.compile(r"^\s*sha256: ")


def with_checksums(text: str, checksums: dict[str, str]) -> str:
    """The lock file's text with a `sha256` line after each coordinate; old checksums are replaced."""
    lines = []
    for line in text.splitlines():
        if CHECKSUM.match(line):
            continue
        lines.append(line)
        if found := COORDINATE.match(line):
            lines.append(f"{found['indent']}  sha256: {checksums[found['coordinate']]}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Fetch every artifact and record its checksum."""
    artifacts = list({a.coordinate: a for engine in load_lock().values() for a in engine.artifacts}.values())
    with tempfile.TemporaryDirectory() as scratch:
        try:
            download(artifacts, Path(scratch))
        except EngineError as error:
            sys.stderr.write(f"error: {error}\n  try: {error.hint}\n")
            return 1
        checksums = {a.coordinate: sha256_of(Path(scratch) / a.file_name) for a in artifacts}
    LOCK_FILE.write_text(with_checksums(LOCK_FILE.read_text(), checksums))
    sys.stdout.write(f"{len(checksums)} checksums written to {LOCK_FILE.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
