"""The plan for a volume of new audio: cores and memory from measured rates, by plain arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lakehouse.errors import RejectedInputError

DAY_S = 86_400
#: Bits a second of one kbit/s, and bytes of one TB as drives and requirements count them.
KBIT, TB = 1_000, 10**12


@dataclass(frozen=True)
class Rates:
    """What one core does: seconds of audio a CPU second, by stage; `overhead` is a share on top of both."""

    probe_audio_s_per_core_s: float
    features_audio_s_per_core_s: float
    overhead: float
    memory_bytes_per_core: int

    def __post_init__(self) -> None:
        """Refuse rates that nothing can have.

        Raises:
            RejectedInputError: a rate or the memory is not above zero, or the overhead is below.
        """
        for name, value in vars(self).items():
            if value < 0 or (value == 0 and name != "overhead"):
                raise RejectedInputError(
                    f"{name} is {value}.",
                    reason="bad_rate",
                    value=value,
                    hint="Measure with `wavehouse plan rates --audio DIR`.",
                )

    @property
    def core_s_per_audio_s(self) -> float:
        """CPU seconds that a second of audio costs from landing to features."""
        bare = 1 / self.probe_audio_s_per_core_s + 1 / self.features_audio_s_per_core_s
        return bare * (1 + self.overhead)


@dataclass(frozen=True)
class Plan:
    """What a steady stream of audio needs: its speed against real time, cores kept busy, memory of these."""

    audio_s_per_day: float
    times_real_time: float
    busy_cores: float
    memory_bytes: int


@cache
def measured() -> Rates:
    """The rates of `rates.yaml`."""
    return rates(yaml.safe_load(Path(__file__).with_name("rates.yaml").read_text()))


def rates(values: dict[str, Any]) -> Rates:
    """Rates from a mapping, as a file holds them.

    Raises:
        RejectedInputError: a name is missing, unknown, or its value is no number.
    """
    wanted = set(Rates.__annotations__)
    if set(values) != wanted or not all(isinstance(v, int | float) for v in values.values()):
        raise RejectedInputError(
            f"Rates are numbers called {', '.join(sorted(wanted))}.", reason="bad_rates", value=sorted(values)
        )
    return Rates(**values)


def plan(tb_per_day: float, kbit_s: float, found: Rates) -> Plan:
    """The plan for `tb_per_day` (10^12 bytes) of audio of an average bit rate, evenly spread over the day.

    Raises:
        RejectedInputError: the volume or the bit rate is not above zero.
    """
    if tb_per_day <= 0 or kbit_s <= 0:
        raise RejectedInputError("A plan needs some audio of some bit rate.", reason="bad_argument", value=tb_per_day)
    audio_s = tb_per_day * TB * 8 / (kbit_s * KBIT)
    cores = audio_s / DAY_S * found.core_s_per_audio_s
    return Plan(audio_s, audio_s / DAY_S, cores, math.ceil(cores) * found.memory_bytes_per_core)
