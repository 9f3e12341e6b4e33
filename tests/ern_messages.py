"""Writes ERN messages in their three versions from one description, each in the shape that its schema asks for.

They were checked against DDEX's schemas, which are no part of this repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Attached:
    """A picture, or the lyrics of a sound."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Sound:
    title: str
    isrc: str
    path: str
    sha256: str
    duration: str = "PT3S"
    guest: str | None = None
    lyrics: Attached | None = None
    iswc: str | None = None
    explicit: str = "NotExplicit"
    #: A deal of this track alone: from this date, or "" to take it down (3.8.2).
    own_from: str | None = None


@dataclass(frozen=True)
class Sent:
    """What a label wants to say."""

    message_id: str = "M1"
    created_at: str = "2026-03-01T10:00:00Z"
    icpn: str = "4006381333931"
    title: str = "Première"
    artist: str = "Ada Ostinato"
    sender: str = "PADPIDA2014120301U"
    sounds: tuple[Sound, ...] = ()
    pictures: tuple[Attached, ...] = ()
    isni: str | None = None
    ipi: str | None = None
    #: Titles of videos, each with a picture out of it.
    videos: tuple[str, ...] = ()
    territories: tuple[str, ...] = ("Worldwide",)
    excluded: tuple[str, ...] = ()
    models: tuple[str, ...] = ("SubscriptionModel", "AdvertisementSupportedModel")
    starts: str = "2026-03-06"
    ends: str | None = None
    update: bool = False
    takedown: bool = False


#: What the root of a message must say of itself.
_ROOTS = {
    "43": 'AvsVersionId="3" LanguageAndScriptCode="fr"',
    "42": 'LanguageAndScriptCode="fr"',
    "382": 'MessageSchemaVersionId="ern/382" LanguageAndScriptCode="fr"',
}


def root(version: str) -> str:
    return _ROOTS.get(version, "")


def message(sent: Sent, version: str) -> bytes:
    body = _v3(sent) if version == "382" else _v4(sent, version)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ern:NewReleaseMessage xmlns:ern="http://ddex.net/xml/ern/{version}" {root(version)}>'
        f"{body}</ern:NewReleaseMessage>"
    ).encode()


def purge(sent: Sent, version: str) -> bytes:
    title = f'<Title TitleType="DisplayTitle"><TitleText>{escape(sent.title)}</TitleText></Title>'
    return (
        f'<ern:PurgeReleaseMessage xmlns:ern="http://ddex.net/xml/ern/{version}" {root(version)}>'
        f"{_header(sent)}<PurgedRelease><ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId>{title}</PurgedRelease>"
        "</ern:PurgeReleaseMessage>"
    ).encode()


def _header(sent: Sent) -> str:
    return (
        f"<MessageHeader><MessageThreadId>T</MessageThreadId><MessageId>{sent.message_id}</MessageId>"
        f"<MessageSender><PartyId>{sent.sender}</PartyId></MessageSender>"
        "<MessageRecipient><PartyId>PADPIDA2009101501Y</PartyId></MessageRecipient>"
        f"<MessageCreatedDateTime>{sent.created_at}</MessageCreatedDateTime></MessageHeader>"
    )


# --- deals ---


def _terms(sent: Sent, version: str) -> str:
    models = "".join(f"<CommercialModelType>{model}</CommercialModelType>" for model in sent.models)
    places = "".join(f"<TerritoryCode>{code}</TerritoryCode>" for code in sent.territories)
    places += "".join(f"<ExcludedTerritoryCode>{code}</ExcludedTerritoryCode>" for code in sent.excluded)
    ends = f"<EndDate>{sent.ends}</EndDate>" if sent.ends else ""
    period = f"<ValidityPeriod><StartDate>{sent.starts}</StartDate>{ends}</ValidityPeriod>"
    use = "<UseType>OnDemandStream</UseType>"
    return f"{models}<Usage>{use}</Usage>{places}{period}" if version == "382" else f"{places}{period}{models}{use}"


def _taken_down(sent: Sent) -> str:
    """The terms by which 3.8.2 takes down."""
    period = f"<ValidityPeriod><StartDate>{sent.starts}</StartDate></ValidityPeriod>"
    return f"<TakeDown>true</TakeDown><TerritoryCode>Worldwide</TerritoryCode>{period}"


def _deal(number: int, terms: str) -> str:
    return (
        f"<ReleaseDeal><DealReleaseReference>R{number}</DealReleaseReference>"
        f"<Deal><DealTerms>{terms}</DealTerms></Deal></ReleaseDeal>"
    )


def _own_deals(sent: Sent, version: str) -> str:
    """Deals of the track releases."""
    return "".join(
        _deal(n, _terms(replace(sent, starts=s.own_from), version) if s.own_from else _taken_down(sent))
        for n, s in enumerate(sent.sounds, 1)
        if s.own_from is not None
    )


# --- what the release lists ---


def _group(sent: Sent) -> str:
    """The items of the release's group: recordings with their lyrics, pictures, videos with a picture out of each."""
    items = [
        f"<SequenceNumber>{n}</SequenceNumber>{_listed(f'A{n}')}" + (_linked(f"AX{n}") if s.lyrics else "")
        for n, s in enumerate(sent.sounds, 1)
    ]
    items += [_listed(f"AI{n}") for n in range(1, len(sent.pictures) + 1)]
    items += [_listed(f"AV{n}") + _linked(f"AS{n}") for n in range(1, len(sent.videos) + 1)]
    return "".join(f"<ResourceGroupContentItem>{item}</ResourceGroupContentItem>" for item in items)


def _listed(reference: str) -> str:
    return f"<ReleaseResourceReference>{reference}</ReleaseResourceReference>"


def _linked(reference: str) -> str:
    return f"<LinkedReleaseResourceReference>{reference}</LinkedReleaseResourceReference>"


def _still(sent: Sent, number: int) -> Attached:
    return Attached(f"resources/{sent.videos[number - 1]}.jpg", "34" * 32)


# --- 4.x ---


def _file_v4(path: str, sha256: str) -> str:
    return (
        f"<File><URI>{escape(path)}</URI><HashSum><Algorithm>SHA256</Algorithm><HashSumValue>{sha256}</HashSumValue>"
        "</HashSum></File>"
    )


def _technical_v4(name: str, file: str) -> str:
    reference = f"<TechnicalResourceDetailsReference>T{name}</TechnicalResourceDetailsReference>"
    return f"<TechnicalDetails>{reference}{file}</TechnicalDetails>"


def _made_v4(identifier: str, name: str, file: str, version: str, kind: str) -> tuple[str, str]:
    """Identifier and file of a recording or video: of an edition in 4.3, of itself in 4.2, there before and after."""
    identifier = f"<ResourceId>{identifier}</ResourceId>"
    if version == "42":
        return identifier, _technical_v4(name, file)
    file = f"<DeliveryFile><Type>{'Audio' if kind == 'SoundRecording' else 'Video'}File</Type>{file}</DeliveryFile>"
    return f"<{kind}Edition>{identifier}{_technical_v4(name, file)}</{kind}Edition>", ""


def _named_v4(title: str, artists: str, name: str) -> str:
    return (
        f"<DisplayTitleText>{escape(title)}</DisplayTitleText>"
        f"<DisplayTitle><TitleText>{escape(title)}</TitleText></DisplayTitle>"
        f"<DisplayArtistName>{escape(name)}</DisplayArtistName>{artists}"
    )


def _artist_v4(number: int, party: str, role: str) -> str:
    return (
        f'<DisplayArtist SequenceNumber="{number}"><ArtistPartyReference>{party}</ArtistPartyReference>'
        f"<DisplayArtistRole>{role}</DisplayArtistRole></DisplayArtist>"
    )


def _picture_v4(reference: str, kind: str, one: Attached) -> str:
    return (
        f"<Image><ResourceReference>{reference}</ResourceReference><Type>{kind}</Type>"
        f'<ResourceId><ProprietaryId Namespace="PADPIDA2014120301U">{reference}</ProprietaryId></ResourceId>'
        f"{_technical_v4(reference, _file_v4(one.path, one.sha256))}</Image>"
    )


def _lyrics_v4(number: int, one: Attached, version: str) -> str:
    language = ' LanguageAndScriptCode="fr"' if version == "42" else ""
    return (
        f"<Text{language}><ResourceReference>AX{number}</ResourceReference><Type>LyricText</Type>"
        + _technical_v4(f"AX{number}", _file_v4(one.path, one.sha256))
        + ("" if language else "<LanguageOfText>fr</LanguageOfText>")
        + "</Text>"
    )


def _sound_v4(sent: Sent, number: int, sound: Sound, parties: dict[str, str], version: str) -> str:
    before, after = _made_v4(
        f"<ISRC>{sound.isrc}</ISRC>", f"{number}", _file_v4(sound.path, sound.sha256), version, "SoundRecording"
    )
    artists = _artist_v4(1, parties[sent.artist], "MainArtist")
    if sound.guest:
        artists += _artist_v4(2, parties[sound.guest], "FeaturedArtist")
    return (
        f"<SoundRecording><ResourceReference>A{number}</ResourceReference><Type>MusicalWorkSoundRecording</Type>{before}"
        + (f"<WorkId><ISWC>{sound.iswc}</ISWC></WorkId>" if sound.iswc else "")
        + _named_v4(sound.title, artists, sent.artist)
        + f"<Duration>{sound.duration}</Duration><ParentalWarningType>{sound.explicit}</ParentalWarningType>"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance>{after}</SoundRecording>"
    )


def _video_v4(sent: Sent, number: int, title: str, parties: dict[str, str], version: str) -> str:
    before, after = _made_v4(
        f"<ISRC>FRZ03269{number:04}</ISRC>",
        f"V{number}",
        _file_v4(f"resources/{title}.mp4", "56" * 32),
        version,
        "Video",
    )
    return (
        f"<Video><ResourceReference>AV{number}</ResourceReference><Type>ShortFormMusicalWorkVideo</Type>{before}"
        + _named_v4(title, _artist_v4(1, parties[sent.artist], "MainArtist"), sent.artist)
        + "<Duration>PT3M</Duration><ParentalWarningType>NotExplicit</ParentalWarningType>"
        f"{after}</Video>"
    )


def _people_v4(sent: Sent, parties: dict[str, str]) -> str:
    ids = f"<ISNI>{sent.isni}</ISNI>" if sent.isni else ""
    ids += f"<IpiNameNumber>{sent.ipi}</IpiNameNumber>" if sent.ipi else ""
    people = "".join(
        f"<Party><PartyReference>{reference}</PartyReference><PartyName><FullName>{escape(name)}</FullName></PartyName>"
        + (f"<PartyId>{ids}</PartyId>" if ids and name == sent.artist else "")
        + "</Party>"
        for name, reference in parties.items()
    )
    label = "<Party><PartyReference>PL</PartyReference><PartyName><FullName>Sept Lieues</FullName></PartyName></Party>"
    return people + label


def _v4(sent: Sent, version: str) -> str:
    guests = [sound.guest for sound in sent.sounds if sound.guest]
    parties = {name: f"P{number}" for number, name in enumerate(dict.fromkeys((sent.artist, *guests)), 1)}
    resources = [_sound_v4(sent, n, sound, parties, version) for n, sound in enumerate(sent.sounds, 1)]
    resources += [_video_v4(sent, n, title, parties, version) for n, title in enumerate(sent.videos, 1)]
    resources += [_picture_v4(f"AI{n}", "FrontCoverImage", one) for n, one in enumerate(sent.pictures, 1)]
    resources += [_picture_v4(f"AS{n}", "VideoScreenCapture", _still(sent, n)) for n in range(1, len(sent.videos) + 1)]
    resources += [_lyrics_v4(n, s.lyrics, version) for n, s in enumerate(sent.sounds, 1) if s.lyrics]
    label = "<ReleaseLabelReference>PL</ReleaseLabelReference>"
    genre = "<Genre><GenreText>Chanson</GenreText></Genre>"
    singles = "".join(
        f"<TrackRelease><ReleaseReference>R{n}</ReleaseReference>"
        f'<ReleaseId><ProprietaryId Namespace="PADPIDA2014120301U">{s.isrc}</ProprietaryId></ReleaseId>'
        f"{_listed(f'A{n}')}{label}{genre}</TrackRelease>"
        for n, s in enumerate(sent.sounds, 1)
    )
    deals = "" if sent.takedown else (
        f"<DealList>{_deal(0, _terms(sent, version))}{_own_deals(sent, version)}</DealList>"
    )  # fmt: skip
    return (
        f"{_header(sent)}<PartyList>{_people_v4(sent, parties)}</PartyList>"
        f"<ResourceList>{''.join(resources)}</ResourceList><ReleaseList><Release>"
        "<ReleaseReference>R0</ReleaseReference><ReleaseType>Album</ReleaseType>"
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId>"
        + _named_v4(sent.title, _artist_v4(1, parties[sent.artist], "MainArtist"), sent.artist)
        + f"{label}{genre}<ReleaseDate>{sent.starts}</ReleaseDate>"
        f"<ParentalWarningType>NotExplicit</ParentalWarningType><ResourceGroup>{_group(sent)}</ResourceGroup></Release>"
        f"{singles}</ReleaseList>{deals}"
    )


# --- 3.8.2 ---


def _technical_v3(kind: str, name: str, path: str, sha256: str) -> str:
    folder, _, last = path.rpartition("/")
    return (
        f"<Technical{kind}Details><TechnicalResourceDetailsReference>T{name}</TechnicalResourceDetailsReference><File>"
        f"<FileName>{escape(last)}</FileName><FilePath>{escape(folder)}</FilePath>"
        f"<HashSum><HashSum>{sha256}</HashSum><HashSumAlgorithmType>SHA-256</HashSumAlgorithmType></HashSum></File>"
        f"</Technical{kind}Details>"
    )


def _by_territory(kind: str, details: str) -> str:
    return f"<{kind}DetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>{details}</{kind}DetailsByTerritory>"


def _titles_v3(title: str) -> tuple[str, str]:
    """The reference title, and the one of a territory."""
    words = f"<TitleText>{escape(title)}</TitleText>"
    return f"<ReferenceTitle>{words}</ReferenceTitle>", f'<Title TitleType="DisplayTitle">{words}</Title>'


def _artist_v3(sent: Sent, name: str, role: str) -> str:
    ids = ""
    if role == "MainArtist":
        ids += f'<PartyId IsISNI="true">{sent.isni}</PartyId>' if sent.isni else ""
        ids += f'<PartyId Namespace="IPI">{sent.ipi}</PartyId>' if sent.ipi else ""
    return (
        f"<DisplayArtist><PartyName><FullName>{escape(name)}</FullName></PartyName>{ids}"
        f"<ArtistRole>{role}</ArtistRole></DisplayArtist>"
    )


def _picture_v3(reference: str, kind: str, one: Attached) -> str:
    return (
        f"<Image><ImageType>{kind}</ImageType>"
        f'<ImageId><ProprietaryId Namespace="PADPIDA2014120301U">{reference}</ProprietaryId></ImageId>'
        f"<ResourceReference>{reference}</ResourceReference>"
        + _by_territory("Image", _technical_v3("Image", reference, one.path, one.sha256))
        + "</Image>"
    )


def _lyrics_v3(number: int, one: Attached) -> str:
    return (
        '<Text LanguageAndScriptCode="fr"><TextType>LyricText</TextType>'
        f'<TextId><ProprietaryId Namespace="PADPIDA2014120301U">AX{number}</ProprietaryId></TextId>'
        f"<ResourceReference>AX{number}</ResourceReference>"
        + _by_territory("Text", _technical_v3("Text", f"AX{number}", one.path, one.sha256))
        + "</Text>"
    )


def _sound_v3(sent: Sent, number: int, sound: Sound) -> str:
    reference_title, title = _titles_v3(sound.title)
    details = title + _artist_v3(sent, sent.artist, "MainArtist")
    if sound.guest:
        details += _artist_v3(sent, sound.guest, "FeaturedArtist")
    details += f"<ParentalWarningType>{sound.explicit}</ParentalWarningType>"
    details += _technical_v3("SoundRecording", f"{number}", sound.path, sound.sha256)
    return (
        "<SoundRecording><SoundRecordingType>MusicalWorkSoundRecording</SoundRecordingType>"
        f"<SoundRecordingId><ISRC>{sound.isrc}</ISRC></SoundRecordingId>"
        + (f"<IndirectSoundRecordingId><ISWC>{sound.iswc}</ISWC></IndirectSoundRecordingId>" if sound.iswc else "")
        + f"<ResourceReference>A{number}</ResourceReference>{reference_title}"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance><Duration>{sound.duration}</Duration>"
        f"{_by_territory('SoundRecording', details)}</SoundRecording>"
    )


def _video_v3(sent: Sent, number: int, name: str) -> str:
    reference_title, title = _titles_v3(name)
    technical = _technical_v3("Video", f"V{number}", f"resources/{name}.mp4", "56" * 32)
    return (
        "<Video><VideoType>ShortFormMusicalWorkVideo</VideoType>"
        f"<VideoId><ISRC>FRZ03269{number:04}</ISRC></VideoId><ResourceReference>AV{number}</ResourceReference>"
        f"{reference_title}<Duration>PT3M</Duration>"
        + _by_territory("Video", title + _artist_v3(sent, sent.artist, "MainArtist") + technical)
        + "</Video>"
    )


def _release_v3(reference: str, kind: str, identifier: str, title: str, resources: str, details: str) -> str:
    main = ' IsMainRelease="true"' if reference == "R0" else ""
    reference_title, shown = _titles_v3(title)
    return (
        f"<Release{main}><ReleaseId>{identifier}</ReleaseId><ReleaseReference>{reference}</ReleaseReference>"
        f"{reference_title}<ReleaseResourceReferenceList>{resources}</ReleaseResourceReferenceList>"
        f"<ReleaseType>{kind}</ReleaseType><ReleaseDetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>"
        f"{details.replace('%TITLE%', shown)}</ReleaseDetailsByTerritory></Release>"
    )


def _v3(sent: Sent) -> str:
    resources = [_sound_v3(sent, n, sound) for n, sound in enumerate(sent.sounds, 1)]
    resources += [_video_v3(sent, n, title) for n, title in enumerate(sent.videos, 1)]
    resources += [_picture_v3(f"AI{n}", "FrontCoverImage", one) for n, one in enumerate(sent.pictures, 1)]
    resources += [_picture_v3(f"AS{n}", "VideoScreenCapture", _still(sent, n)) for n in range(1, len(sent.videos) + 1)]
    resources += [_lyrics_v3(n, s.lyrics) for n, s in enumerate(sent.sounds, 1) if s.lyrics]
    references = [f"A{n}" for n in range(1, len(sent.sounds) + 1)] + [f"AV{n}" for n in range(1, len(sent.videos) + 1)]
    listed = "".join(
        f'<ReleaseResourceReference ReleaseResourceType="PrimaryResource">{one}</ReleaseResourceReference>'
        for one in references
    )
    label = "<LabelName>Sept Lieues</LabelName>"
    genre = "<Genre><GenreText>Chanson</GenreText></Genre>"
    artist = _artist_v3(sent, sent.artist, "MainArtist")
    details = (
        f"{label}%TITLE%{artist}<ResourceGroup>{_group(sent)}</ResourceGroup>{genre}"
        f"<ReleaseDate>{sent.starts}</ReleaseDate>"
    )
    releases = _release_v3("R0", "Album", f"<ICPN>{sent.icpn}</ICPN>", sent.title, listed, details)
    releases += "".join(
        _release_v3(f"R{n}", "TrackRelease", f"<ISRC>{s.isrc}</ISRC>", s.title, _listed(f"A{n}"),
                    f"{label}%TITLE%{artist}{genre}")
        for n, s in enumerate(sent.sounds, 1)
    )  # fmt: skip
    terms = _taken_down(sent) if sent.takedown else _terms(sent, "382")
    return (
        f"{_header(sent)}<UpdateIndicator>{'UpdateMessage' if sent.update else 'OriginalMessage'}</UpdateIndicator>"
        f"<ResourceList>{''.join(resources)}</ResourceList><ReleaseList>{releases}</ReleaseList>"
        f"<DealList>{_deal(0, terms)}{_own_deals(sent, '382')}</DealList>"
    )
