"""From probabilities to masks: thresholds and post-processing, as typed or as tuned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unet3d.config.schema import AUTO, PostprocessConfig
from unet3d.errors import ConfigError, RunError
from unet3d.inference.ensemble import Ensemble
from unet3d.inference.tuned import read_tuned, tuned_of
from unet3d.sampling.targets import Targets

NONE = "none"


@dataclass(frozen=True)
class Decision:
    """cuts: for each region the logit above which it is predicted; () for 0, and for classes.

    after: what is done to the mask of each output.
    """

    cuts: tuple[float, ...]
    after: tuple[PostprocessConfig, ...]


def plain_decision(targets: Targets) -> Decision:
    """Thresholds of 0.5, or the largest class, and no post-processing."""
    return Decision((), (PostprocessConfig(),) * len(targets.names))


def make_decision(
    thresholds: Any,
    postprocess: PostprocessConfig,
    targets: Targets,
    ensemble: Ensemble,
    output_dir: str,
) -> Decision:
    """What the settings `thresholds` and `postprocess` mean for this ensemble.

    Raises ConfigError for values that cannot work, RunError where auto has nothing to go by.
    """
    chosen = thresholds == AUTO
    if chosen and not targets.exclusive:
        thresholds = dict(tuned_of(ensemble, output_dir, "thresholds").thresholds)
    cuts = _cuts(thresholds, targets)
    if postprocess.choice == NONE:
        return Decision(cuts, (postprocess,) * len(targets.names))
    if replace(postprocess, choice=NONE) != PostprocessConfig():
        raise ConfigError(
            f"postprocess: {postprocess.choice} is not possible beside postprocess.fill_holes, "
            "postprocess.min_volume or postprocess.largest; leave these out"
        )
    if postprocess.choice == AUTO:
        tuned = tuned_of(ensemble, output_dir, "postprocess")
    else:
        tuned = read_tuned(Path(postprocess.choice))
    steps = tuned.at_thresholds if chosen else tuned.at_half
    shown = targets.names[1 if targets.exclusive else 0 :]
    missing = [name for name in shown if name not in steps]
    if missing:
        raise RunError(
            f"postprocess: {postprocess.choice} says nothing about {', '.join(missing)}; it is of "
            f"{', '.join(steps)}"
        )
    return Decision(cuts, tuple(steps.get(name, PostprocessConfig()) for name in targets.names))


def logit(probability: float) -> float:
    """The logit of a probability between 0 and 1."""
    return math.log(probability / (1 - probability))


def _cuts(thresholds: Any, targets: Targets) -> tuple[float, ...]:
    if targets.exclusive:
        if thresholds not in ("0.5", AUTO):
            raise ConfigError(
                f"thresholds: {thresholds} is not possible, as the network predicts the classes of "
                "one softmax, of which the largest counts; leave it out"
            )
        return ()
    names = targets.names
    if isinstance(thresholds, Mapping):
        values = _of_regions(thresholds, names)
    elif isinstance(thresholds, list):
        values = list(thresholds)
    else:
        values = [thresholds] * len(names)
    if len(values) != len(names):
        raise ConfigError(
            f"thresholds: {len(values)} values, but there are {len(names)} regions: "
            f"{', '.join(names)}"
        )
    cuts = tuple(logit(_probability(value)) for value in values)
    return cuts if any(cuts) else ()


def _of_regions(thresholds: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    unknown = [name for name in thresholds if name not in names]
    if unknown:
        raise ConfigError(f"thresholds: {unknown[0]} is not a region; choose of {', '.join(names)}")
    return [thresholds.get(name, 0.5) for name in names]


def _probability(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < 1:
        raise ConfigError(
            f"thresholds: {value} is not possible; write a probability above 0 and below 1, a list "
            "[0.5,0.4] with one for each region, {region: 0.4}, or auto"
        )
    return number
