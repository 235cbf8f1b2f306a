"""A sweep's result in words: the answer, and how its numbers were computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unet3d.sweep.scores import ScoreTable
from unet3d.sweep.search.race import Race
from unet3d.sweep.statistics.estimate import (
    CASES,
    FOLDS,
    NOTHING,
    SEEDS,
    SEEDS_AND_CASES,
    Estimate,
    trial_means,
)
from unet3d.sweep.statistics.runs_needed import MOST_SEEDS, POWER
from unet3d.sweep.verdict.compared import DROPPED, OPEN, UNKNOWN, Compared

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
REPEAT = "type sweep.folds=5 or sweep.seeds=3"


def with_interval(one: Estimate) -> str:
    """As in 0.842 +- 0.006: with the digits that the interval leaves, three at the least."""
    half = one.half_width()
    if not math.isfinite(half):
        return f"{one.mean:.4f}"
    digits = 3 if half >= 0.0005 else 4
    return f"{one.mean:.{digits}f} +- {half:.{digits}f}"


def answer(rows: Sequence[Compared], table: ScoreTable) -> str:
    """The result in a sentence; rows: the best first."""
    best, others = rows[0], [one for one in rows[1:] if one.standing != DROPPED]
    gone = len(rows) - 1 - len(others)
    value = f"{best.name} is best ({with_interval(best.estimate)})"
    if gone and not others:
        return f"{value}; the race has dropped {_all(gone)}"
    if not others:
        return f"{value}; there is no other configuration to compare it with"
    if any(one.standing == UNKNOWN for one in others):
        return (
            f"{best.name} has the highest val/dice ({with_interval(best.estimate)}); nothing says "
            f"by how much chance alone makes the others differ; {REPEAT}"
        )
    left = [one for one in others if one.standing == OPEN]
    if others[0].against and others[0].against.difference.basis == CASES:
        return _of_one_trial_each(best, len(others), len(left), table)
    if not left:
        largest = max(one.against.p for one in others if one.against)
        whom = "the other" if len(others) == 1 else f"each of the {_word(len(others))} others"
        return f"{value}; {whom} {'left ' * bool(gone)}is worse (p {_p(largest)}){_race(gone)}"
    return (
        f"{value}; {_counted(len(left))} cannot be distinguished from it; {_more(left, table)}"
        f"{_race(gone)}"
    )


def _race(gone: int) -> str:
    return f"; the race has dropped {_counted(gone)}" if gone else ""


def _all(others: int) -> str:
    return "the other" if others == 1 else f"all {_word(others)} others"


def _of_one_trial_each(best: Compared, others: int, left: int, table: ScoreTable) -> str:
    cases = sum(fold.shape[2] for fold in table.folds)
    found = f"{_counted(left)} cannot be distinguished from it" if left else "all others are worse"
    if others == 1 and not left:
        found = "the other is worse"
    return (
        f"{best.name} has the highest val/dice ({with_interval(best.estimate)}) of one split and "
        f"one seed; by its {cases} cases {found}, but whether another seed or split would say the "
        f"same cannot be known from one trial each; {REPEAT}"
    )


def _more(left: Sequence[Compared], table: ScoreTable) -> str:
    """How many more runs would decide between the best and those that are `left`."""
    known = [one.more for one in left if one.more is not None]
    if not known:
        return (
            f"more seeds would not decide, not even {MOST_SEEDS}, as cases and folds change more "
            "than the configurations do"
        )
    runs = max(known) * len(table.folds) * (len(known) + 1)
    some = "" if len(known) == len(left) else f" about {_word(len(known))} of them"
    seeds = table.seeds + max(known)
    return f"about {runs} more run{'s' * (runs > 1)} (sweep.seeds={seeds}) would decide{some}"


def method(
    rows: Sequence[Compared], table: ScoreTable, tests: int, level: float, race: Race | None
) -> list[str]:
    """How the answer was computed and what it cannot say, a sentence or two each."""
    best, folds, seeds = rows[0], len(table.folds), table.seeds
    found = [f"{best.estimate.mean:.4f} is the mean of {_trials(best, table)}. {_what(best)}"]
    if sum(one.standing != DROPPED for one in rows) > 1:
        paired = "case by case" if table.by_case else "trial by trial"
        correction = "p is of a two-sided t test"
        if tests > 1:
            correction += (
                f", corrected by Holm (1979) for all {tests} pairs of configurations, as which is "
                "best was chosen by the same values"
            )
        if race is not None:
            correction += ", and counts twice, as half of the level was for the race"
        found.append(
            f"The others are compared with it by their differences, {paired} of the trials that "
            f"both have. {correction}; a "
            f"configuration is called worse where p is at most {level:g}."
        )
    if race is not None and race.dropped:
        found.append(
            "The race (Birattari et al. 2002) dropped whom a paired t test found to be behind "
            f"another; that it dropped the truly best one has a probability of {level / 2:g} at "
            f"most, over {race.looks} looks and {race.entrants} configurations: "
            f"{'; '.join(map(str, race.dropped))}."
        )
    found += [_needed(one, table) for one in rows if one.more is not None and one.against]
    if best.estimate.basis == CASES:
        found.append(
            "The interval says how sure these trained networks are on other cases like these. It "
            "cannot say what another seed or another split would give, which may change more."
        )
    if folds > 1:
        found.append(
            "Folds share most of their training cases, so that intervals over them are rather too "
            "narrow than too wide (Bengio and Grandvalet 2004)."
        )
    if folds == 1 and seeds > 1:
        found.append(
            "All trials have the same split: what another one would give is not in the interval."
        )
    if not table.by_case:
        found.append(
            "The runs have not kept the Dice of each case, as those of earlier versions have not; "
            "each trial counts as one value."
        )
    found.append(
        "Each trial counts with its best epoch, chosen on the cases it is measured on: the means "
        "are a little too high, all alike. Only unet3d evaluate opens the test cases."
    )
    return found


def _trials(best: Compared, table: ScoreTable) -> str:
    """As in "15 trials (5 folds x 3 seeds)"."""
    trials, folds = len(best.configuration.values), len(table.folds)
    parts = [f"{folds} folds"] * (folds > 1) + [f"{table.seeds} seeds"] * (table.seeds > 1)
    return f"{trials} trial{'s' * (trials > 1)}" + (f" ({' x '.join(parts)})" if parts else "")


def _what(best: Compared) -> str:
    one = best.estimate
    over = {
        FOLDS: "by Student's t over the means of the folds, with {0:.0f} degrees of freedom",
        SEEDS: "by Student's t over the trials, with {0:.0f} degrees of freedom",
        CASES: "by Student's t over the cases of its one trial, with {0:.0f} degrees of freedom",
        SEEDS_AND_CASES: "over seeds and cases, both as random (Dorfman, Berbaum and Metz 1992; "
        "Banerjee 1960), with {0:.0f} and {1:.0f} degrees of freedom",
        NOTHING: "",
    }[one.basis]
    if not over:
        return "One value has no interval."
    text = f"+- is its 95 % interval, {over.format(*(part.freedom for part in one.parts))}."
    return text.replace(" 1 degrees of", " 1 degree of")


def _needed(one: Compared, table: ScoreTable) -> str:
    assert one.against is not None and one.more is not None
    difference, folds = one.against.difference, len(table.folds)
    seeds = max(len(trial_means(fold[0])) for fold in table.folds)
    each = f"on each of {folds} folds " if folds > 1 else ""
    return (
        f"{one.name} differs by {difference.mean:+.4f}, with a standard error of "
        f"{difference.error:.4f} after {seeds} seed{'s' * (seeds > 1)}; with {one.more} more "
        f"{each}for both, a difference of this size would be found at its level of "
        f"{one.against.level:.2g} with a probability of {POWER:.0%}."
    )


def _counted(number: int) -> str:
    return f"{_word(number)} other{'s' * (number != 1)}"


def _word(number: int) -> str:
    return WORDS[number] if number < len(WORDS) else str(number)


def _p(value: float) -> str:
    return "below 0.001" if value < 0.001 else f"at most {value:.3f}"


def shown_p(value: float) -> str:
    """A p in a table."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
