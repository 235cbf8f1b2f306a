"""What a sweep has found, in numbers and in words, from what its trials have left."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.sweep.folders import write_sweep, write_trial
from tests.sweep.statistics.simulated import simulate
from unet3d.run_folder import run_folder
from unet3d.sweep.report.configuration_table import print_verdict
from unet3d.sweep.report.report import write_report
from unet3d.sweep.scores import score_table
from unet3d.sweep.sweep_folder import SweepFolder
from unet3d.sweep.verdict.verdict import verdict
from unet3d.training.case_scores import read_case_scores, write_case_scores
from unet3d.training.validate import CaseResult

RATES = ("1e-3", "3e-3", "1e-2")


def write_simulated(
    output_dir: Path, scores: list[np.ndarray], by_case: bool = True
) -> SweepFolder:
    """A sweep over rates whose trials have these scores, for each fold (rates, seeds, cases)."""
    sweep = write_sweep(output_dir, "rates")
    for fold, array in enumerate(scores):
        for rate in range(array.shape[0]):
            for seed in range(array.shape[1]):
                swept = {"lr": RATES[rate]}
                if len(scores) > 1:
                    swept["data.fold"] = str(fold)
                if array.shape[1] > 1:
                    swept["seed"] = str(seed)
                number, values = len(list(sweep.glob("trials/*"))), array[rate, seed]
                write_trial(sweep, number, swept, [float(values.mean())])
                if by_case:
                    write_cases(output_dir, f"{number:032x}", values, fold)
    return SweepFolder(sweep)


def write_cases(output_dir: Path, run: str, values: np.ndarray, fold: int = 0) -> None:
    """The Dice of each case of a run, the same in both of its regions."""
    targets: Any = SimpleNamespace(names=("WT", "TC"), exclusive=False)
    results = [CaseResult(f"f{fold}c{n}", 0.5, np.array([v, v])) for n, v in enumerate(values)]
    write_case_scores(run_folder(output_dir, run).case_scores, 7, results, targets)


def scores(means: tuple[float, ...], folds: int, seeds: int, cases: int = 20) -> list[np.ndarray]:
    return simulate(np.random.default_rng(3), means, folds, seeds, cases)


def test_dice_of_each_case_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """A softmax's background does not count; a file of something else is none."""
    targets: Any = SimpleNamespace(names=("background", "edema", "core"), exclusive=True)
    path = tmp_path / "validation.csv"
    write_case_scores(
        path, 3, [CaseResult("a", np.float64(0.25), np.array([0.99, 0.5, 0.8]))], targets
    )
    found = read_case_scores(path)
    assert found["a"] == pytest.approx(
        {"loss": 0.25, "dice": 0.65, "dice_background": 0.99, "dice_edema": 0.5, "dice_core": 0.8}
    )
    path.write_text("half,a\nfile")
    assert read_case_scores(path) == read_case_scores(tmp_path / "none.csv") == {}


def test_scores_are_found_by_fold_seed_and_case(tmp_path: Path) -> None:
    """Each in its place, the highest mean first."""
    written = scores((0.80, 0.85, 0.70), 3, 2)
    sweep = write_simulated(tmp_path, written)
    table = score_table(sweep.trials(), str(tmp_path))
    assert [one.name for one in table.configurations] == ["lr=3e-3", "lr=1e-3", "lr=1e-2"]
    assert table.by_case and table.trials == 18 and table.cases[1][0] == "f1c0"
    for found, expected in zip(table.folds, written, strict=True):
        order = [int(case[3:]) for case in sorted(f"f0c{n}" for n in range(20))]
        np.testing.assert_allclose(found, expected[[1, 0, 2]][:, :, order])


def test_the_answer_of_folds(tmp_path: Path) -> None:
    """The best, its interval, those that cannot be distinguished, and how many runs would do."""
    sweep = write_simulated(tmp_path, scores((0.840, 0.838, 0.70), 5, 1))
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None
    assert [row.standing for row in found.rows] == ["best", "not distinguished", "worse"]
    best = found.rows[0]
    assert found.answer.startswith(f"{best.name} is best ({best.estimate.mean:.3f} +- 0.")
    assert "; one other cannot be distinguished from it; " in found.answer
    text = " ".join(found.method)
    assert "Student's t over the means of the folds, with 4 degrees" in text
    assert "Holm (1979) for all 3 pairs" in text and "case by case" in text


def test_the_answer_where_all_is_clear(tmp_path: Path) -> None:
    """With the p that says so."""
    sweep = write_simulated(tmp_path, scores((0.9, 0.6, 0.5), 5, 2, 40))
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None and found.answer.endswith(
        "each of the two others is worse (p below 0.001)"
    )


def test_more_runs_are_asked_for_where_they_would_decide(tmp_path: Path) -> None:
    """So many, that is as many seeds on each fold for both; a sentence shows how it is found."""
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.012, (2, 5, 1))
    array = np.array([0.84, 0.83])[:, None, None] + noise + random.normal(0, 0.01, (1, 1, 90))
    sweep = write_simulated(tmp_path, [array])
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None and (more := found.rows[1].more)
    assert f"about {2 * more} more runs (sweep.seeds={5 + more}) would decide" in found.answer
    assert f"with {more} more for both" in " ".join(found.method)


def test_one_trial_each_says_what_it_cannot(tmp_path: Path) -> None:
    """An interval over cases is no word on seeds; without cases there is none at all."""
    written = scores((0.84, 0.5), 1, 1)
    sweep = write_simulated(tmp_path, written)
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None and found.rows[1].more is None
    assert "of one split and one seed; by its 20 cases the other is worse" in found.answer
    assert "cannot be known from one trial each; type sweep.folds=5" in found.answer
    bare = write_simulated(tmp_path / "bare", written, by_case=False)
    found = verdict(bare.trials(), str(tmp_path / "bare"))
    assert found is not None and found.rows[1].standing == "not known"
    assert "nothing says by how much chance alone makes the others differ" in found.answer
    assert not found.has_intervals


def test_cases_of_other_weights_do_not_count(tmp_path: Path) -> None:
    """A table whose mean is not the trial's val/dice is not of its best epoch."""
    written = scores((0.84, 0.83), 1, 3)
    sweep = write_simulated(tmp_path, written)
    write_cases(tmp_path, f"{1:032x}", written[0][0, 1] + 0.1)
    table = score_table(sweep.trials(), str(tmp_path))
    assert not table.by_case and table.folds[0].shape == (2, 3, 1)
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None and "not kept the Dice of each case" in " ".join(found.method)


def test_the_report_answers_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the page, on the terminal, in results.csv and results.json."""
    sweep = write_simulated(tmp_path, scores((0.84, 0.83, 0.7), 3, 1))
    page = write_report(sweep, str(tmp_path))
    found = verdict(sweep.trials(), str(tmp_path))
    assert found is not None
    html = page.read_text()
    assert (
        html.index("is best (0.")
        < html.index("<h2>Configurations</h2>")
        < html.index("Trials</h2>")
    )
    assert "±" in html and "How this was computed" in html
    with (page.parent / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    stored = json.loads((page.parent / "results.json").read_text())
    assert stored["answer"] == found.answer and len(stored["trials"]) == 9
    assert [row["standing"] for row in rows] == [r.standing for r in found.rows]
    assert float(rows[0]["low"]) < float(rows[0]["mean"]) < float(rows[0]["high"])
    assert rows[0]["p_holm"] == "" and 0 <= float(rows[2]["p_holm"]) <= 1
    print_verdict(found)
    printed = capsys.readouterr().out
    assert printed.startswith("result: ") and "not distinguished" in printed


def test_without_a_finished_trial_there_is_no_verdict(tmp_path: Path) -> None:
    """Nor does the report fail."""
    folder = write_sweep(tmp_path, "rates")
    write_trial(folder, 0, {"lr": "1"}, [], "failed")
    assert verdict(SweepFolder(folder).trials(), str(tmp_path)) is None
    assert "results.csv" not in {
        p.name for p in write_report(SweepFolder(folder), str(tmp_path)).parent.iterdir()
    }
