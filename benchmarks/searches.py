"""Which search finds the best trial for how many epochs: python benchmarks/searches.py

A table of trials that were trained (searches.csv: 64 configurations on phantoms, val/dice after
each of 9 epochs, a constant rate so that a shorter training is the beginning of a longer one) is
replayed: each search proposes, stops and promotes by the program's own rules, four trials at once,
until its budget of epochs is used. What counts is the val/dice, after all 9 epochs, of the
configuration that looked best to the search. Trainings are looked up, so this takes five minutes,
nearly all of them TPE's.

With --record FOLDER the table is trained again, by sweep.py, in some twenty minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from unet3d.config.compose import compose_config  # noqa: E402
from unet3d.config.schema import SweepConfig  # noqa: E402
from unet3d.sweep.search.halving import HalvingSearch  # noqa: E402
from unet3d.sweep.search.search import GridSearch, OptunaSearch, Search  # noqa: E402
from unet3d.sweep.search.study import make_pruner, make_sampler, quiet_study  # noqa: E402
from unet3d.sweep.trial import Trial, TrialResult  # noqa: E402

TABLE = Path(__file__).with_suffix(".csv")
AT_ONCE = 4
EPOCHS = 9
BUDGETS = (72, 144, 288)  # epochs: of 8, 16 and 32 whole trials
GRID = {
    "lr": "1e-5,1e-4,3e-4,1e-3,3e-3,1e-2,3e-2,1e-1",
    "model.norm": "batch,instance",
    "model.filters": "4,8",
    "loss": "dice_ce,focal",
}
Settings = tuple[str, ...]  # the values, in the order of GRID


@dataclass(frozen=True)
class Recorded:
    """val/dice after each epoch, by configuration."""

    curves: dict[Settings, list[float]]

    def true(self, configuration: Settings) -> float:
        """After all epochs."""
        return self.curves[configuration][-1]

    @property
    def best(self) -> float:
        """Of all."""
        return max(map(self.true, self.curves))


def main() -> None:
    """Print, for each budget and search, what was found, and the difference from random search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, help="train the table again, in this folder")
    parser.add_argument("--seeds", type=int, default=40)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record)
        return
    table = read()
    count = len(table.curves)
    print(f"best of {count} configurations: {table.best:.4f}; {arguments.seeds} seeds")
    print(
        f"{'epochs':>8}  {'search':<12}{'found':>8}{'less random, 95 % interval':>30}{'trials':>8}"
    )
    for budget in BUDGETS:
        baseline = [replay(table, "random", budget, seed) for seed in range(arguments.seeds)]
        for name in SEARCHES:
            found = [replay(table, name, budget, seed) for seed in range(arguments.seeds)]
            gain = [one.true - other.true for one, other in zip(found, baseline, strict=True)]
            half = 1.96 * stdev(gain) / math.sqrt(len(gain))
            shown = f"{mean(gain):+.4f} +- {half:.4f}" if name != "random" else "-"
            true, trials = mean(one.true for one in found), mean(one.trials for one in found)
            print(f"{budget:>8}  {name:<14}{true:>8.4f}{shown:>22}{trials:>8.0f}", flush=True)


@dataclass
class Found:
    """What a search has chosen when its budget was used: its true value; trials: begun."""

    true: float
    trials: int


def replay(table: Recorded, name: str, budget: int, seed: int) -> Found:
    """One search with one seed."""
    search = SEARCHES[name](table, budget, seed)
    running: list[tuple[Trial, list[float], list[float]]] = []  # its curve to come, and so far
    begun, left = 0, budget
    known: dict[tuple[Settings, int], TrialResult] = {}  # of the trials that have ended
    best, chosen = -1.0, next(iter(table.curves))
    while left > 0:
        while len(running) < AT_ONCE and (trial := search.next()) is not None:
            if (before := known.get((settings_of(trial), epochs_of(trial)))) is not None:
                search.tell(trial, before)  # a sweep does not train the same twice
                continue
            begun += 1
            running.append((trial, list(table.curves[settings_of(trial)][: epochs_of(trial)]), []))
        if not running:
            break
        trial, ahead, behind = running.pop(0)
        behind.append(ahead.pop(0))
        left -= 1
        value = behind[-1]
        if value > best:
            best, chosen = value, settings_of(trial)
        stop = search.should_prune(trial, len(behind), value)
        if ahead and not stop:
            running.append((trial, ahead, behind))
            continue
        state = "pruned" if ahead else "finished"
        ended = TrialResult(state, best=max(behind), epochs=len(behind))
        known[settings_of(trial), epochs_of(trial)] = ended
        search.tell(trial, ended)
    return Found(table.true(chosen), begun)


def settings_of(trial: Trial) -> Settings:
    """Its configuration."""
    return tuple(plain(trial.swept[key]) for key in GRID)


def plain(value: str) -> str:
    """1e-3 and 0.001 are one value."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def epochs_of(trial: Trial) -> int:
    """That it trains, unless it is stopped."""
    return int(trial.swept.get("epochs", EPOCHS))


CONFIG = compose_config([f"epochs={EPOCHS}"])


def trial_of(number: int, configuration: Settings, **more: Any) -> Trial:
    """A trial of the table."""
    swept = dict(zip(GRID, configuration, strict=True)) | {k: str(v) for k, v in more.items()}
    return Trial(number, (), swept, CONFIG)


def shuffled(table: Recorded, seed: int) -> list[Settings]:
    """All configurations in a random order."""
    order = sorted(table.curves)
    random.Random(seed).shuffle(order)
    return order


def random_search(table: Recorded, budget: int, seed: int, **settings: Any) -> Search:
    """A random order of the grid, with or without early stopping."""
    trials = [trial_of(at, own) for at, own in enumerate(shuffled(table, seed))]
    return GridSearch(trials, SweepConfig(**settings))


def optuna(table: Recorded, budget: int, seed: int, **more: Any) -> Search:
    """TPE over the same values, with or without early stopping."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    settings = SweepConfig(seed=seed, trials=400, **more)
    rates = [float(value) for value in GRID["lr"].split(",")]
    space: dict[str, Any] = {
        key: CategoricalDistribution(values.split(",")) for key, values in GRID.items()
    }
    space["lr"] = FloatDistribution(rates[0], rates[-1], log=True)

    def make_trial(number: int, params: dict[str, Any]) -> Trial:
        nearest = min(rates, key=lambda rate: abs(math.log(rate / params["lr"])))
        typed = GRID["lr"].split(",")[rates.index(nearest)]
        return trial_of(number, (typed, *(params[key] for key in list(GRID)[1:])))

    study = quiet_study(
        pruner=make_pruner(settings, EPOCHS), sampler=make_sampler(settings, 0), study_name="bench"
    )
    return OptunaSearch(study, space, make_trial, settings.trials)


def halving(table: Recorded, budget: int, seed: int) -> Search:
    """Successive halving over epochs 1, 3 and 9, each from the beginning, as the budget allows."""
    count = max(9, budget // 3)  # of which each costs 1 + 3 / 3 + 9 / 9 epochs
    first = shuffled(table, seed)[:count]

    def make_trial(at: int, rung: int) -> Trial:
        return trial_of(rung * len(first) + at, first[at], epochs=(1, 3, EPOCHS)[rung])

    return HalvingSearch(len(first), make_trial, 3, 3)


SEARCHES: dict[str, Callable[[Recorded, int, int], Search]] = {
    "random": random_search,
    "asha": lambda t, b, s: random_search(t, b, s, early_stopping="asha"),
    "hyperband": lambda t, b, s: random_search(t, b, s, early_stopping="hyperband"),
    "median": lambda t, b, s: random_search(t, b, s, early_stopping="median"),
    "halving": halving,
    "tpe": optuna,
    "tpe+asha": lambda t, b, s: optuna(t, b, s, early_stopping="asha"),
    "tpe+hyperband": lambda t, b, s: optuna(t, b, s, early_stopping="hyperband"),
}


def read() -> Recorded:
    """searches.csv. Ends this benchmark where it has not been recorded."""
    if not TABLE.is_file():
        sys.exit(f"{TABLE.name} is not there; type python benchmarks/searches.py --record <folder>")
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    curves = {
        tuple(plain(row[key]) for key in GRID): [float(row[str(e)]) for e in range(1, EPOCHS + 1)]
        for row in rows
    }
    return Recorded(curves)


def record(folder: Path) -> None:
    """Train all configurations and write searches.csv; what has been trained is not again."""
    from unet3d.files import write_text
    from unet3d.sweep.sweep_folder import sweep_folder

    command = [sys.executable, str(REPOSITORY / "sweep.py"), "-m", *map("=".join, GRID.items())]
    command += [f"epochs={EPOCHS}", "schedule=constant", "data.patch=[32,32,32]", "tracking=none"]
    command += ["data.phantom.shape=[48,48,48]", "data.phantom.cases=12", "model.depth=2"]
    command += ["sweep.name=searches", "sweep.forecast=false", "steps_per_epoch=8"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, cwd=folder, check=True)
    lines = [",".join([*GRID, *map(str, range(1, EPOCHS + 1))])]
    for trial in sorted(
        sweep_folder(folder / "outputs", "searches").trials(), key=lambda t: t.number
    ):
        values = [f"{epoch['metrics']['val/dice']:.5f}" for epoch in trial.epochs]
        lines.append(",".join([*(trial.swept[key] for key in GRID), *values]))
    write_text(TABLE, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
