"""A made-up audience that plays a real catalogue: deterministic, long-tailed, with the faults real streams have.

`simulate(scenario, tracks)` gives every record that is produced, in order of delivery, labelled with what the simulator
knows about it. The labels never consult the platform's own rules, so that they can judge them.
"""

from lakehouse.domain.simulation.events import Simulation, simulate
from lakehouse.domain.simulation.scenario import Scenario, Tracks

__all__ = ["Scenario", "Simulation", "Tracks", "simulate"]
