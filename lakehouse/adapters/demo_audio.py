"""The demo's music: a Debian package with freely licensed, tagged recordings; fetched, unpacked, never installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from lakehouse.errors import FatalError

#: The soundtrack of The Battle for Wesnoth: Ogg Vorbis, about two hours. One name per release of the distribution.
PACKAGES = ("wesnoth-1.16-music", "wesnoth-1.18-music")


def fetch(cache: Path) -> Path:
    """The folder of the unpacked music below `cache`; downloaded the first time only. Needs no root.

    Raises:
        FatalError: the package cannot be had here; the hint names the alternative.
    """
    for package in PACKAGES:
        if found := music_folder(cache / package):
            return found
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    failures = [f"no {tool} on this machine" for tool in missing]
    for package in () if missing else PACKAGES:
        if failure := _unpack(package, cache / package):
            failures.append(failure)
        elif found := music_folder(cache / package):
            return found
        else:
            failures.append(f"{package} holds no music")
    raise FatalError(
        f"The demo music cannot be fetched: {'; '.join(failures)}.",
        hint="Use your own files: AUDIO=/path/to/music make demo. Or run `apt-get update` (as root) and try again.",
    )


def music_folder(unpacked: Path) -> Path | None:
    """The folder with the music in an unpacked package; None when it is not there."""
    return next((path.parent for path in sorted(unpacked.glob("usr/share/**/music/*.ogg"))), None)


def _unpack(package: str, target: Path) -> str:
    """Download and unpack a package to `target`, whole or not at all; returns what went wrong, or ""."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{package}-") as temporary:
        folder = Path(temporary)
        # apt as root drops its rights for the download; its user must be able to write here.
        folder.chmod(0o777)
        done = subprocess.run(
            ["apt-get", "download", "-q", package], cwd=folder, capture_output=True, text=True, check=False
        )
        archive = next(folder.glob("*.deb"), None)
        if done.returncode or archive is None:
            reason = [line for line in done.stderr.splitlines() if line.startswith("E:")]
            return f"apt-get download {package}: {reason[0][2:].strip() if reason else done.stderr.strip()[-200:]}"
        done = subprocess.run(
            ["dpkg-deb", "-x", str(archive), "unpacked"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return f"dpkg-deb -x {archive.name}: {done.stderr.strip()[-200:]}"
        if not target.exists():  # another process may have been quicker
            (folder / "unpacked").rename(target)
    return ""
