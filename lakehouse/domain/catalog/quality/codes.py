"""Codes of languages (BCP 47) and territories (ISO 3166-1, and DDEX's Worldwide)."""

from __future__ import annotations

import re

import langcodes
from langcodes.tag_parser import LanguageTagError

WORLDWIDE = "Worldwide"

#: ISO 3166-1 alpha-2, officially assigned.
_ASSIGNED = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ "
    "CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO "
    "FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE "
    "JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO "
    "MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW "
    "PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM "
    "TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW "
)
TERRITORIES = frozenset(_ASSIGNED.split())

#: Reserved for one territory (ISO 3166/MA) or what suppliers write for Worldwide; nothing else can be meant.
_TERRITORY_ALIASES = {"UK": "GB", "WW": WORLDWIDE, "WORLD": WORLDWIDE, "WORLDWIDE": WORLDWIDE}


def normalise_territory(text: str) -> str:
    """`text` as an ISO 3166-1 alpha-2 code or `Worldwide`.

    Raises:
        ValueError: it is neither.
    """
    code = text.strip().upper()
    code = _TERRITORY_ALIASES.get(code, code)
    if code not in TERRITORIES and code != WORLDWIDE:
        raise ValueError(f"'{text}' is not a territory of ISO 3166-1")
    return code


def normalise_language(text: str) -> str:
    """`text` as the shortest BCP 47 tag (RFC 5646): `ENG` and `en` are `en`, `pt_br` is `pt-BR`.

    The region must be a territory in use; `en-UK` is `en-GB`.

    Raises:
        ValueError: the tag, or its region, is not registered.
    """
    tag = text.strip().replace("_", "-")
    # Four letters or more name no language in the registry: `english` would parse as a reserved subtag.
    if not re.match(r"[A-Za-z]{2,3}(-|$)", tag) or not langcodes.tag_is_valid(tag):
        raise ValueError(f"'{text}' is not a language tag of BCP 47")
    try:
        normal = langcodes.standardize_tag(tag)
    except LanguageTagError as error:
        raise ValueError(f"'{text}' is not a language tag of BCP 47") from error
    region = langcodes.Language.get(normal, normalize=False).territory
    if region and region.isalpha() and region not in TERRITORIES:
        raise ValueError(f"'{text}' names no territory in use")
    return normal
