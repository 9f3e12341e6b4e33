"""The made-up world: markets, players and campaigns. Figures are plausible, not anybody's.

Currencies with no decimals (JPY) and three (KWD) are in it on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Market:
    """One country: where its listeners live, what they pay, what an ad brings."""

    country: str
    currency: str
    weight: float
    zones: tuple[tuple[str, float], ...]
    premium_share: float
    premium_price_minor: int
    """Net monthly price in minor units of the currency."""
    ad_price_micros: int
    """Typical price of one impression in millionths of the currency."""
    tax_percent: int
    """Tax on top of a subscription: the usual rate of value added, goods and services or consumption tax."""


#: Part of the net price that stores and payment services take, on top of it.
FEES_PERCENT = 3


MARKETS = (
    Market(
        "US",
        "USD",
        0.30,
        (
            ("America/New_York", 0.46),
            ("America/Chicago", 0.30),
            ("America/Denver", 0.07),
            ("America/Los_Angeles", 0.17),
        ),
        0.48,
        1099,
        14_000,
        0,
    ),
    Market("GB", "GBP", 0.11, (("Europe/London", 1.0),), 0.50, 999, 11_000, 20),
    Market("DE", "EUR", 0.12, (("Europe/Berlin", 1.0),), 0.52, 924, 10_000, 19),
    Market("FR", "EUR", 0.09, (("Europe/Paris", 1.0),), 0.46, 916, 9_000, 20),
    Market(
        "BR",
        "BRL",
        0.13,
        (("America/Sao_Paulo", 0.85), ("America/Manaus", 0.10), ("America/Noronha", 0.05)),
        0.30,
        1799,
        18_000,
        17,
    ),
    Market("IN", "INR", 0.12, (("Asia/Kolkata", 1.0),), 0.16, 10_085, 160_000, 18),
    Market("JP", "JPY", 0.06, (("Asia/Tokyo", 1.0),), 0.44, 891, 1_500_000, 10),
    Market("SE", "SEK", 0.05, (("Europe/Stockholm", 1.0),), 0.62, 9520, 120_000, 25),
    Market("KW", "KWD", 0.02, (("Asia/Kuwait", 1.0),), 0.40, 1990, 4_000, 0),
)

DEVICES = ("phone", "desktop", "speaker", "car", "tv", "web")
DEVICE_SHARE = (0.52, 0.14, 0.10, 0.10, 0.04, 0.10)
#: Players that can keep tracks for times without a connection.
OFFLINE_DEVICES = ("phone", "car")
#: Whole seconds are all that this player reports.
COARSE_DEVICE = "web"
PLAYERS: dict[str, tuple[str, ...]] = {
    "phone": (
        "Wavehouse/8.9.4 (Android 15; Pixel 9)",
        "Wavehouse/8.9.4 (iOS 18.1; iPhone16,2)",
        "Wavehouse/8.8.0 (Android 13; SM-A546B)",
    ),
    "desktop": (
        "Wavehouse/1.44.2 (Windows NT 10.0; x64)",
        "Wavehouse/1.44.2 (Macintosh; arm64)",
        "Wavehouse/1.43.0 (Linux; x86_64)",
    ),
    "speaker": ("WavehouseConnect/3.2 (Sonos)", "WavehouseConnect/3.1 (Echo)", "WavehouseConnect/3.2 (HomePod)"),
    "car": ("Wavehouse/8.9.4 (Android Automotive 14)", "Wavehouse/8.9.4 (CarPlay)", "WavehouseConnect/2.9 (Bosch)"),
    "tv": ("WavehouseTV/5.0 (Tizen 8)", "WavehouseTV/5.0 (webOS 24)", "WavehouseTV/4.8 (tvOS 18)"),
    "web": (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
    ),
}
BOT_PLAYERS = (
    "python-requests/2.32.3",
    "curl/8.5.0",
    "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/128.0 Safari/537.36",
    "StreamBoostBot/1.0",
)

CONTEXTS = ("album", "artist", "playlist", "search", "radio", "library")
CONTEXT_SHARE = (0.14, 0.10, 0.36, 0.10, 0.14, 0.16)

#: Relative number of sessions begun in each hour of the listener's own day, on working days and at weekends.
HOURS_WORKDAY = (2, 1, 0.6, 0.4, 0.5, 1.5, 4, 7, 7.5, 6, 5, 5, 5.5, 5, 4.8, 5, 6.5, 8, 8, 7, 6, 5.5, 5, 3.5)
HOURS_WEEKEND = (4, 3, 1.8, 1, 0.6, 0.7, 1.2, 2.2, 4, 5.5, 6.5, 7, 7, 7, 6.8, 6.5, 6.5, 6.5, 6.5, 6.5, 7, 7.5, 7, 5.5)
#: Sessions a day relative to the average, Monday first.
WEEKDAYS = (0.94, 0.96, 0.98, 1.00, 1.12, 1.06, 0.94)


@dataclass(frozen=True)
class Campaign:
    """An ad campaign: where it runs and in which part (0..1) of the simulated interval."""

    countries: tuple[str, ...]
    begins: float
    ends: float
    creatives: int


EVERYWHERE = tuple(market.country for market in MARKETS)
CAMPAIGNS = (
    Campaign(EVERYWHERE, 0.0, 1.0, 2),  # always on, so that no market is ever without an ad
    Campaign(("US",), 0.0, 0.45, 3),
    Campaign(("US", "GB"), 0.30, 0.80, 2),
    Campaign(("DE", "FR", "SE"), 0.10, 0.60, 2),
    Campaign(("BR",), 0.0, 1.0, 1),
    Campaign(("BR", "US"), 0.55, 1.0, 2),
    Campaign(("IN",), 0.20, 0.90, 3),
    Campaign(("JP",), 0.40, 0.70, 1),
    Campaign(("GB", "DE", "FR", "SE", "KW"), 0.65, 1.0, 2),
    Campaign(("KW", "IN"), 0.05, 0.35, 1),
)
