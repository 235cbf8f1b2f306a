"""How much each parameter matters to val/dice, by Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unet3d.sweep.parameters import Parameter, best_of, parameters
from unet3d.sweep.results import Result

SEED = 0  # of the forest, so that the same trials give the same bars


def importance(results: Sequence[Result]) -> dict[str, float]:
    """Each varying parameter's share of the variance of val/dice, the greatest first.

    results: trials that have a val/dice, at least two different. The shares add up to 1. The
    method is fANOVA (Hutter et al. 2014), which works from two trials on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    varying = parameters(results)
    distributions = {parameter.name: _distribution(parameter) for parameter in varying}
    columns = {parameter.name: _column(parameter) for parameter in varying}
    study = optuna.create_study(direction="maximize")
    for at, result in enumerate(results):
        study.add_trial(
            optuna.trial.create_trial(
                params={name: column[at] for name, column in columns.items()},
                distributions=distributions,
                value=best_of(result),
            )
        )
    return optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=SEED)
    )


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not parameter.numeric:
        return CategoricalDistribution(parameter.categories)
    # Logarithms are given as such: the evaluator would weigh a log scale's values as linear ones.
    return FloatDistribution(min(parameter.places()), max(parameter.places()))


def _column(parameter: Parameter) -> list[Any]:
    return parameter.places() if parameter.numeric else list(parameter.values)
