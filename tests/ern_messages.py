"""Writes ERN messages in their three versions from one description, by what is publicly known of their schemas."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass(frozen=True)
class Sound:
    title: str
    isrc: str
    path: str
    sha256: str
    duration: str = "PT3S"
    guest: str | None = None


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
    territories: tuple[str, ...] = ("Worldwide",)
    excluded: tuple[str, ...] = ()
    models: tuple[str, ...] = ("SubscriptionModel", "AdvertisementSupportedModel")
    starts: str = "2026-03-06"
    ends: str | None = None
    update: bool = False
    takedown: bool = False
    extra: dict[str, str] = field(default_factory=dict)


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


def _v4(sent: Sent) -> str:
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
        + f"<Duration>{s.duration}</Duration><ParentalWarningType>NotExplicit</ParentalWarningType>"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance></SoundRecording>"
        for n, s in enumerate(sent.sounds, 1)
    )  # fmt: skip
    items = "".join(
        f"<ResourceGroupContentItem><SequenceNumber>{n}</SequenceNumber>"
        f"<ReleaseResourceReference>A{n}</ReleaseResourceReference></ResourceGroupContentItem>"
        for n in range(1, len(sent.sounds) + 1)
    )
    deal = f"<Deal><DealTerms>{_terms(sent, '<UseType>OnDemandStream</UseType>')}</DealTerms></Deal>"
    deals = "" if sent.takedown else (
        f"<DealList><ReleaseDeal><DealReleaseReference>R0</DealReleaseReference>{deal}</ReleaseDeal></DealList>"
    )  # fmt: skip
    people = "".join(
        f"<Party><PartyReference>{ref}</PartyReference><PartyName><FullName>{escape(name)}</FullName></PartyName></Party>"
        for name, ref in parties.items()
    )
    return (
        f"{_header(sent)}<PartyList>{people}</PartyList><ResourceList>{sounds}</ResourceList><ReleaseList><Release>"
        f"<ReleaseReference>R0</ReleaseReference><ReleaseType>Album</ReleaseType>"
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId><DisplayTitleText>{escape(sent.title)}</DisplayTitleText>"
        f"<DisplayArtistName>{escape(sent.artist)}</DisplayArtistName><ReleaseDate>{sent.starts}</ReleaseDate>"
        f"<ResourceGroup>{items}</ResourceGroup></Release></ReleaseList>{deals}"
    )


def _v3(sent: Sent) -> str:
    def artist(name: str, role: str) -> str:
        full = f"<PartyName><FullName>{escape(name)}</FullName></PartyName>"
        return f"<DisplayArtist>{full}<ArtistRole>{role}</ArtistRole></DisplayArtist>"

    sounds = "".join(
        f"<SoundRecording><SoundRecordingId><ISRC>{s.isrc}</ISRC></SoundRecordingId>"
        f"<ResourceReference>A{n}</ResourceReference>"
        f"<ReferenceTitle><TitleText>{escape(s.title)}</TitleText></ReferenceTitle><Duration>{s.duration}</Duration>"
        f"<LanguageOfPerformance>fr</LanguageOfPerformance>"
        f"<SoundRecordingDetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>{artist(sent.artist, 'MainArtist')}"
        + (artist(s.guest, "FeaturedArtist") if s.guest else "")
        + f"<ParentalWarningType>NotExplicit</ParentalWarningType><TechnicalSoundRecordingDetails>"
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
    uses = "<Usage><UseType>OnDemandStream</UseType></Usage>"
    terms = "<TakeDown>true</TakeDown>" if sent.takedown else _terms(sent, uses)
    return (
        f"{_header(sent)}<UpdateIndicator>{'UpdateMessage' if sent.update else 'OriginalMessage'}</UpdateIndicator>"
        f'<ResourceList>{sounds}</ResourceList><ReleaseList><Release IsMainRelease="true">'
        f"<ReleaseId><ICPN>{sent.icpn}</ICPN></ReleaseId><ReleaseReference>R0</ReleaseReference>"
        f"<ReferenceTitle><TitleText>{escape(sent.title)}</TitleText></ReferenceTitle>"
        f"<ReleaseResourceReferenceList>{references}</ReleaseResourceReferenceList><ReleaseType>Album</ReleaseType>"
        f"<ReleaseDetailsByTerritory><TerritoryCode>Worldwide</TerritoryCode>{artist(sent.artist, 'MainArtist')}"
        f"<ReleaseDate>{sent.starts}</ReleaseDate></ReleaseDetailsByTerritory></Release></ReleaseList>"
        "<DealList><ReleaseDeal><DealReleaseReference>R0</DealReleaseReference>"
        f"<Deal><DealTerms>{terms}</DealTerms></Deal>"
        f"</ReleaseDeal></DealList>"
    )
