"""Population based training: the worst trials continue from the best ones, with changed settings.

Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from unet3d.config.schema import SweepConfig
from unet3d.errors import RunError
from unet3d.files import read_text, write_text
from unet3d.sweep.search.rounds import RoundsSearch
from unet3d.sweep.trial import Trial

log = logging.getLogger(__name__)
FACTORS = (0.8, 1.2)  # by which a setting changes


@dataclass(frozen=True)
class Step:
    """What a member does in a generation. epoch: the last one before it; trial: that trains it.

    source: the member whose state it continues from, itself unless it was among the worst; run: of
    that state, "" in the first generation. values: its swept settings from now on.
    """

    generation: int
    member: int
    trial: int
    epoch: int
    source: int
    run: str
    values: dict[str, str]


class PopulationSearch(RoundsSearch):
    """Members that train side by side, a generation, which is a round, after another.

    Each generation of a member is a trial of its own, so that nothing of an earlier one is lost.
    `make_trial` makes the trial of a step, up to an epoch.
    """

    def __init__(
        self,
        values: Sequence[Mapping[str, str]],
        make_trial: Callable[[Step, int], Trial],
        epochs: int,
        settings: SweepConfig,
        kept: Path,
        first_number: int = 0,
    ):
        """values: of the swept settings of each member; epochs: of the whole training; kept: the
        file of the lineage."""
        assert settings.perturbation_interval is not None
        self.make_trial, self.epochs, self.kept = make_trial, epochs, kept
        self.interval, self.settings = settings.perturbation_interval, settings
        self.first_number, self.count = first_number, len(values)
        self.steps = [
            Step(0, at, first_number + at, 0, at, "", dict(own)) for at, own in enumerate(values)
        ]
        self.lineage: list[Step] = []
        super().__init__(self.steps)

    @property
    def total(self) -> int:
        """Trials in all."""
        return self.count * generations(self.epochs, self.interval)

    def begin(self, waiting: Step) -> tuple[int, Trial]:
        """The trial of a member's step, which the lineage keeps."""
        self.lineage.append(waiting)
        write_text(self.kept, json.dumps([asdict(step) for step in self.lineage], indent=1))
        end = min(self.epochs, waiting.epoch + self.interval)
        return waiting.member, self.make_trial(waiting, end)

    def advance(self) -> None:
        """Choose what each member continues from, if there is another generation."""
        generation = self.steps[0].generation + 1
        epoch = generation * self.interval
        alive = {at: result for at, result in self.results.items() if result.run_id}
        if epoch >= self.epochs or not alive:
            return
        values = {at: result.best or 0.0 for at, result in alive.items()}
        fraction, drawn = self.settings.quantile_fraction, self._random(generation)
        before, self.steps = self.steps, []
        for member, source in enumerate(exploit(values, self.count, fraction, drawn)):
            settings = before[source].values
            if source != member:
                settings = explore(settings, self._random(generation, member))
                log.info(
                    "population: after epoch %d member %d continues from member %d with %s",
                    epoch,
                    member,
                    source,
                    ", ".join(f"{key}={value}" for key, value in settings.items()),
                )
            number = self.first_number + generation * self.count + member
            run = alive[source].run_id
            self.steps.append(Step(generation, member, number, epoch, source, run, settings))
        self.begin_round(self.steps)

    def _random(self, *place: int) -> random.Random:
        return random.Random(f"{self.settings.seed} {place}")


def generations(epochs: int, interval: int) -> int:
    """How many there are; the last may be shorter."""
    return -(-epochs // interval)


def exploit(
    values: Mapping[int, float], count: int, fraction: float, random_: random.Random
) -> list[int]:
    """The member that each of `count` continues from: one of the best in place of the worst.

    values: of the members that have one; those without count as worst. fraction: of the members
    that are the best, and the worst, at least one each but never the same.
    """
    order = sorted(range(count), key=lambda at: (-values.get(at, float("-inf")), at))
    size = max(1, min(count // 2, round(fraction * count)))
    best = [at for at in order[:size] if at in values]
    worst = {*order[count - size :], *(at for at in order if at not in values)} - set(best)
    return [random_.choice(best) if at in worst else at for at in range(count)]


def explore(values: Mapping[str, str], random_: random.Random) -> dict[str, str]:
    """Each number times 0.8 or 1.2.

    Of one between a half and 1, such as a decay rate of 0.999, what it lacks to 1, so that it stays
    below that. Whole numbers stay whole.
    """
    return {key: _changed(value, random_.choice(FACTORS)) for key, value in values.items()}


def _changed(text: str, factor: float) -> str:
    value = float(text)
    if 0.5 < value < 1:
        return f"{1 - (1 - value) * factor:.6g}"
    if value.is_integer() and text.strip().lstrip("+-").isdigit():
        return str(round(value * factor))
    return f"{value * factor:.4g}"


def read_lineage(path: Path) -> list[Step]:
    """What each member has continued from, in order; [] of a sweep that is no population."""
    try:
        return [Step(**one) for one in json.loads(read_text(path) or "[]")]
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path}: is damaged ({error}); the sweep's command writes it again"
        ) from error
