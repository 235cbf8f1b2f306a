"""A configuration beside the best one of its sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import stdev

from unet3d.sweep.configurations import Configuration
from unet3d.sweep.search.race import Dropped
from unet3d.sweep.statistics.comparison import Against
from unet3d.sweep.statistics.estimate import NOTHING, Estimate

BEST, OPEN, WORSE, UNKNOWN = "best", "not distinguished", "worse", "not known"
DROPPED = "dropped"  # by a race


@dataclass(frozen=True)
class Compared:
    """A configuration in the comparison.

    estimate: of its own mean; against: beside the best one, None for that; more: further seeds on
    each fold that would decide, None where it is decided or none would; dropped: by a race.
    """

    configuration: Configuration
    estimate: Estimate
    against: Against | None = None
    more: int | None = None
    dropped: Dropped | None = None

    @property
    def name(self) -> str:
        """What the sweep varies."""
        return self.configuration.name

    @property
    def deviation(self) -> float:
        """Between its trials, NaN with one."""
        values = self.configuration.values
        return stdev(values) if len(values) > 1 else math.nan

    @property
    def standing(self) -> str:
        """BEST, OPEN, WORSE, DROPPED, or UNKNOWN where nothing says how far chance goes."""
        if self.against is None:
            return BEST
        if self.dropped is not None:
            return DROPPED
        if self.against.difference.basis == NOTHING:
            return UNKNOWN
        return WORSE if self.against.distinguished else OPEN
