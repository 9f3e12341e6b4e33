"""Pictures, lyrics and links of a delivery: read, judged, and described as the catalogue keeps them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lakehouse.adapters.catalog_db import DeliveredAsset
from lakehouse.domain.catalog.deliveries import lyrics, merch
from lakehouse.domain.catalog.quality.records import ARTWORK_FORMATS, ARTWORK_MAX_PX, Artwork, Finding, judge_artwork
from lakehouse.errors import RejectedInputError

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png"}


def artwork_of(path: Path, name: str) -> tuple[DeliveredAsset, list[Finding]]:
    """The picture at `path`, which the delivery calls `name`, and what is wrong with it."""
    from PIL import Image

    sha256 = _sha256(path)  # a file that can't be read at all is no bad picture
    try:
        with Image.open(path) as picture:
            art = Artwork(picture.format or "", picture.width, picture.height)
            # A picture that is cut off has a whole header; one that is too large is not unpacked.
            if art.format in ARTWORK_FORMATS and max(picture.size) <= ARTWORK_MAX_PX:
                picture.load()
    except Exception:
        # Pillow's readers raise whatever they meet in damaged bytes: OSError, ValueError, SyntaxError, struct.error...
        art = Artwork("unknown", 0, 0)
    findings = judge_artwork(art)
    attributes = {"width_px": art.width_px, "height_px": art.height_px}
    media_type = MEDIA_TYPES.get(art.format)
    return DeliveredAsset("artwork", attributes, None, name, sha256, media_type, path.stat().st_size), findings


def lyrics_of(path: Path, name: str, language: str | None, *, track: int) -> DeliveredAsset:
    """The lyrics at `path`, which the delivery calls `name`, for its track at the place `track`.

    Raises:
        RejectedInputError: see `lyrics.read`.
    """
    with path.open("rb") as stream:
        read = lyrics.read(stream.read(4 * lyrics.MAX_CHARACTERS + 1))
    attributes = {
        "synchronised": read.synchronised,
        "language": language,
        "lines": [[at, line] for at, line in read.lines],
        "tags": dict(read.tags),
    }
    return DeliveredAsset("lyrics", attributes, track, name, _sha256(path), "text/plain", path.stat().st_size)


def links_of(path: Path, release_key: str | None) -> list[DeliveredAsset]:
    """The links at `path` for a release: those that name it or none. Without a key, none may name one.

    Raises:
        RejectedInputError: see `merch.read`.
    """
    with path.open("rb") as stream:
        links = merch.read(stream.read(merch.MAX_BYTES + 1))
    if release_key is None and (named := next((link.release for link in links if link.release), None)):
        raise RejectedInputError(
            f"A link names the release {named}, but no message delivers releases here.",
            reason="merch_invalid",
            value=named,
            hint="Leave `release` out beside tagged files.",
        )
    return [
        DeliveredAsset("merch", {"title": link.title, "url": link.url})
        for link in links
        if link.release in (None, release_key)
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
