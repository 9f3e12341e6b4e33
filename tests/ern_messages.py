"""Writes ERN messages in their three versions from one description, by what is publicly known of their schemas."""

from __future__ import annotations

from collections.abc import Callable
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
    territories: tuple[str, ...] = ("Worldwide",)
    excluded: tuple[str, ...] = ()
    models: tuple[str, ...] = ("SubscriptionModel", "AdvertisementSupportedModel")
    starts: str = "2026-03-06"
    ends: str | None = None
    update: bool = False
    takedown: bool = False


def message(sent: Sent, version: str) -> bytes:
    body = _v3(sent) if version == "382" else _v4(sent)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ern:NewReleaseMessage xmlns:ern="http://ddex.net/xml/ern/{version}">'
        f"{body}</ern:NewReleaseMessage>"
    ).encode()


def purge(sent: Sent, version: str) -> bytes:
    return (
        f'<ern:PurgeReleaseMessage xmlns:ern="http://ddex.net/xml/ern/{version}">{_header(sent)}<PurgedRelease>'
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId></PurgedRelease></ern:PurgeReleaseMessage>"
    ).encode()


def _header(sent: Sent) -> str:
    return (
        f"<MessageHeader><MessageThreadId>T</MessageThreadId><MessageId>{sent.message_id}</MessageId>"
        f"<MessageSender><PartyId>{sent.sender}</PartyId></MessageSender>"
        f"<MessageCreatedDateTime>{sent.created_at}</MessageCreatedDateTime></MessageHeader>"
    )


def _terms(sent: Sent, uses: str) -> str:
    return (
        "".join(f"<CommercialModelType>{model}</CommercialModelType>" for model in sent.models)
        + uses
        + "".join(f"<TerritoryCode>{code}</TerritoryCode>" for code in sent.territories)
        + "".join(f"<ExcludedTerritoryCode>{code}</ExcludedTerritoryCode>" for code in sent.excluded)
        + f"<ValidityPeriod><StartDate>{sent.starts}</StartDate>"
        + (f"<EndDate>{sent.ends}</EndDate>" if sent.ends else "")
        + "</ValidityPeriod>"
    )


def _attached_v4(kind: str, reference: str, value: str, one: Attached) -> str:
    return (
        f"<{kind}><ResourceReference>{reference}</ResourceReference><Type>{value}</Type><TechnicalDetails><File>"
        f"<URI>{escape(one.path)}</URI><HashSum><Algorithm>SHA256</Algorithm><HashSumValue>{one.sha256}</HashSumValue>"
        f"</HashSum></File></TechnicalDetails><LanguageOfText>fr</LanguageOfText></{kind}>"
    )


def _attached_v3(kind: str, reference: str, value: str, one: Attached) -> str:
    folder, _, name = one.path.rpartition("/")
    return (
        f"<{kind}><{kind}Type>{value}</{kind}Type><ResourceReference>{reference}</ResourceReference>"
        f"<LanguageOfText>fr</LanguageOfText><{kind}DetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>"
        f"<Technical{kind}Details><File><FileName>{escape(name)}</FileName><FilePath>{escape(folder)}</FilePath>"
        f"<HashSum><HashSum>{one.sha256}</HashSum><HashSumAlgorithmType>SHA-256</HashSumAlgorithmType></HashSum></File>"
        f"</Technical{kind}Details></{kind}DetailsByTerritory></{kind}>"
    )


def _attachments(sent: Sent, attached: Callable[[str, str, str, Attached], str]) -> tuple[str, str]:
    """Images and texts of the list of resources, and the items of the release's group that link them."""
    texts = {n: s.lyrics for n, s in enumerate(sent.sounds, 1) if s.lyrics}
    pictures = list(enumerate(sent.pictures, 1))
    resources = "".join(attached("Image", f"I{n}", "FrontCoverImage", one) for n, one in pictures)
    resources += "".join(attached("Text", f"X{n}", "LyricText", one) for n, one in texts.items())
    items = "".join(
        f"<ResourceGroupContentItem><SequenceNumber>{n}</SequenceNumber>"
        f"<ReleaseResourceReference>A{n}</ReleaseResourceReference>"
        + (f"<LinkedReleaseResourceReference>X{n}</LinkedReleaseResourceReference>" if n in texts else "")
        + "</ResourceGroupContentItem>"
        for n in range(1, len(sent.sounds) + 1)
    )
    return resources, items + "".join(
        f"<ResourceGroupContentItem><ReleaseResourceReference>I{n}</ReleaseResourceReference></ResourceGroupContentItem>"
        for n, _ in pictures
    )


def _own_deals(sent: Sent, uses: str) -> str:
    """Deals of the track releases."""
    return "".join(
        f"<ReleaseDeal><DealReleaseReference>R{n}</DealReleaseReference><Deal><DealTerms>"
        + (_terms(replace(sent, starts=s.own_from), uses) if s.own_from else "<TakeDown>true</TakeDown>")
        + "</DealTerms></Deal></ReleaseDeal>"
        for n, s in enumerate(sent.sounds, 1)
        if s.own_from is not None
    )


def _v4(sent: Sent) -> str:
    resources, items = _attachments(sent, _attached_v4)
    guests = [sound.guest for sound in sent.sounds if sound.guest]
    parties = {name: f"P{number}" for number, name in enumerate(dict.fromkeys((sent.artist, *guests)), 1)}
    sounds = "".join(
        f"<SoundRecording><ResourceReference>A{n}</ResourceReference><Type>MusicalWorkSoundRecording</Type>"
        f"<SoundRecordingEdition><ResourceId><ISRC>{s.isrc}</ISRC></ResourceId><TechnicalDetails>"
        f"<TechnicalResourceDetailsReference>T{n}</TechnicalResourceDetailsReference><DeliveryFile><File>"
        f"<URI>{escape(s.path)}</URI><HashSum><Algorithm>SHA256</Algorithm><HashSumValue>{s.sha256}</HashSumValue></HashSum>"
        f"</File></DeliveryFile></TechnicalDetails></SoundRecordingEdition>"
        f"<DisplayTitleText>{escape(s.title)}</DisplayTitleText>"
        f"<DisplayArtistName>{escape(sent.artist)}</DisplayArtistName>"
        f'<DisplayArtist SequenceNumber="1"><ArtistPartyReference>{parties[sent.artist]}</ArtistPartyReference>'
        f"<DisplayArtistRole>MainArtist</DisplayArtistRole></DisplayArtist>"
        + (
            f'<DisplayArtist SequenceNumber="2"><ArtistPartyReference>{parties[s.guest]}</ArtistPartyReference>'
            "<DisplayArtistRole>FeaturedArtist</DisplayArtistRole></DisplayArtist>" if s.guest else ""
        )
        + f"<Duration>{s.duration}</Duration><ParentalWarningType>{s.explicit}</ParentalWarningType>"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance>"
        + (f"<WorkId><ISWC>{s.iswc}</ISWC></WorkId>" if s.iswc else "") + "</SoundRecording>"
        for n, s in enumerate(sent.sounds, 1)
    )  # fmt: skip
    deal = f"<Deal><DealTerms>{_terms(sent, '<UseType>OnDemandStream</UseType>')}</DealTerms></Deal>"
    deals = "" if sent.takedown else (
        f"<DealList><ReleaseDeal><DealReleaseReference>R0</DealReleaseReference>{deal}</ReleaseDeal>"
        f"{_own_deals(sent, '<UseType>OnDemandStream</UseType>')}</DealList>"
    )  # fmt: skip
    singles = "".join(
        f"<TrackRelease><ReleaseReference>R{n}</ReleaseReference><ReleaseId><ISRC>{s.isrc}</ISRC></ReleaseId>"
        f"<ReleaseResourceReference>A{n}</ReleaseResourceReference></TrackRelease>"
        for n, s in enumerate(sent.sounds, 1)
    )
    people = "".join(
        f"<Party><PartyReference>{ref}</PartyReference>"
        + (f"<PartyId><ISNI>{sent.isni}</ISNI></PartyId>" if sent.isni and ref == "P1" else "")
        + f"<PartyName><FullName>{escape(name)}</FullName></PartyName></Party>"
        for name, ref in parties.items()
    )
    return (
        f"{_header(sent)}<PartyList>{people}</PartyList><ResourceList>{sounds}{resources}</ResourceList><ReleaseList><Release>"
        f"<ReleaseReference>R0</ReleaseReference><ReleaseType>Album</ReleaseType>"
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId><DisplayTitleText>{escape(sent.title)}</DisplayTitleText>"
        f"<DisplayArtistName>{escape(sent.artist)}</DisplayArtistName><ReleaseDate>{sent.starts}</ReleaseDate>"
        f"<ResourceGroup>{items}</ResourceGroup></Release>{singles}</ReleaseList>{deals}"
    )


def _v3(sent: Sent) -> str:
    resources, items = _attachments(sent, _attached_v3)

    def artist(name: str, role: str) -> str:
        full = f"<PartyName><FullName>{escape(name)}</FullName></PartyName>"
        if sent.isni and role == "MainArtist":
            full += f'<PartyId IsISNI="true">{sent.isni}</PartyId>'
        return f"<DisplayArtist>{full}<ArtistRole>{role}</ArtistRole></DisplayArtist>"

    sounds = "".join(
        f"<SoundRecording><SoundRecordingId><ISRC>{s.isrc}</ISRC></SoundRecordingId>"
        + (f"<IndirectSoundRecordingId><ISWC>{s.iswc}</ISWC></IndirectSoundRecordingId>" if s.iswc else "")
        + f"<ResourceReference>A{n}</ResourceReference>"
        f"<ReferenceTitle><TitleText>{escape(s.title)}</TitleText></ReferenceTitle><Duration>{s.duration}</Duration>"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance>"
        f"<SoundRecordingDetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>{artist(sent.artist, 'MainArtist')}"
        + (artist(s.guest, "FeaturedArtist") if s.guest else "")
        + f"<ParentalWarningType>{s.explicit}</ParentalWarningType><TechnicalSoundRecordingDetails>"
        f"<TechnicalResourceDetailsReference>T{n}</TechnicalResourceDetailsReference><File>"
        f"<FileName>{escape(s.path.rsplit('/', 1)[-1])}</FileName><FilePath>{escape(s.path.rsplit('/', 1)[0])}</FilePath>"  # noqa: E501
        f"<HashSum><HashSum>{s.sha256}</HashSum><HashSumAlgorithmType>SHA-256</HashSumAlgorithmType></HashSum></File>"
        f"</TechnicalSoundRecordingDetails></SoundRecordingDetailsByTerritory></SoundRecording>"
        for n, s in enumerate(sent.sounds, 1)
    )
    references = "".join(
        f'<ReleaseResourceReference ReleaseResourceType="PrimaryResource">A{n}</ReleaseResourceReference>'
        for n in range(1, len(sent.sounds) + 1)
    )
    singles = "".join(
        f"<Release><ReleaseId><ISRC>{s.isrc}</ISRC></ReleaseId><ReleaseReference>R{n}</ReleaseReference>"
        f"<ReleaseResourceReferenceList><ReleaseResourceReference>A{n}</ReleaseResourceReference>"
        "</ReleaseResourceReferenceList><ReleaseType>TrackRelease</ReleaseType></Release>"
        for n, s in enumerate(sent.sounds, 1)
    )
    uses = "<Usage><UseType>OnDemandStream</UseType></Usage>"
    terms = "<TakeDown>true</TakeDown>" if sent.takedown else _terms(sent, uses)
    return (
        f"{_header(sent)}<UpdateIndicator>{'UpdateMessage' if sent.update else 'OriginalMessage'}</UpdateIndicator>"
        f'<ResourceList>{sounds}{resources}</ResourceList><ReleaseList><Release IsMainRelease="true">'
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId><ReleaseReference>R0</ReleaseReference>"
        f"<ReferenceTitle><TitleText>{escape(sent.title)}</TitleText></ReferenceTitle>"
        f"<ReleaseResourceReferenceList>{references}</ReleaseResourceReferenceList><ReleaseType>Album</ReleaseType>"
        f"<ReleaseDetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>{artist(sent.artist, 'MainArtist')}"
        f"<ResourceGroup>{items}</ResourceGroup><ReleaseDate>{sent.starts}</ReleaseDate></ReleaseDetailsByTerritory></Release>{singles}</ReleaseList>"
        "<DealList><ReleaseDeal><DealReleaseReference>R0</DealReleaseReference>"
        f"<Deal><DealTerms>{terms}</DealTerms></Deal>"
        f"</ReleaseDeal>{_own_deals(sent, uses)}</DealList>"
    )
