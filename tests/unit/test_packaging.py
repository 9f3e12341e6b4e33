"""Names, ladder and playlists of playback packages."""

from __future__ import annotations

import pytest

from lakehouse.domain.playback.packaging import Recipe, iv, main_playlist, prefix, rungs, with_key


def test_another_recipe_is_another_package() -> None:
    names = {prefix("ab" * 32, recipe) for recipe in (Recipe(), Recipe(encrypted=True), Recipe((96,)), Recipe())}
    assert len(names) == 3
    assert all(name.startswith(f"hls/ab/{'ab' * 32}/") for name in names)


@pytest.mark.parametrize(
    ("audio_format", "source"),
    [
        ("FLAC/PCM_24", ("copy", "fLaC")),
        ("MP3/MPEG_LAYER_III", ("copy", "mp4a.40.34")),
        ("OGG/OPUS", ("copy", "Opus")),
        ("WAV/PCM_16", ("flac", "fLaC")),
        ("RF64/PCM_24", ("flac", "fLaC")),
        ("OGG/VORBIS", None),
    ],
)
def test_the_source_is_kept_where_mp4_can_hold_it(audio_format: str, source: tuple[str, str] | None) -> None:
    ladder = rungs(Recipe(), audio_format)
    assert [rung.kbit_s for rung in ladder[:3]] == [64, 128, 256]
    assert [(rung.encoder, rung.codecs) for rung in ladder[3:]] == ([source] if source else [])


def test_the_main_playlist_tells_the_loudness() -> None:
    ladder = rungs(Recipe((64,)), "FLAC/PCM_16")
    text = main_playlist(ladder, {"aac-64": 70_000, "source": 800_000}, -14.23)
    assert text.splitlines()[3:] == [
        '#EXT-X-SESSION-DATA:DATA-ID="org.wavehouse.loudness-lufs",VALUE="-14.2"',
        '#EXT-X-STREAM-INF:BANDWIDTH=70000,CODECS="mp4a.40.2"',
        "aac-64/stream.m3u8",
        '#EXT-X-STREAM-INF:BANDWIDTH=800000,CODECS="fLaC"',
        "source/stream.m3u8",
    ]
    assert "loudness" not in main_playlist(ladder, {"aac-64": 1, "source": 1}, None)


def test_the_key_stands_between_map_and_segments() -> None:
    plain = '#EXTM3U\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:6.0,\n00000.m4s\n'
    assert with_key(plain, "../key").splitlines()[1:3] == [
        '#EXT-X-MAP:URI="init.mp4"',
        '#EXT-X-KEY:METHOD=AES-128,URI="../key"',
    ]
    assert iv(258) == bytes(14) + b"\x01\x02"
