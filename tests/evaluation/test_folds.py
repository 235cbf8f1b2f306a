"""A sweep of two folds and a run, from their weights to tables, choices and maps."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from mlflow import MlflowClient

from tests.small import small_config
from tests.sweep.folders import write_sweep, write_trial
from unet3d.cli import main
from unet3d.config.schema import PostprocessConfig
from unet3d.errors import RunError
from unet3d.evaluation.held_out import cases_of_validation
from unet3d.inference.ensemble import ensemble_of
from unet3d.inference.stale import keep_weights, warn_of_stale
from unet3d.inference.tuned import Tuned, weights_of, write_tuned
from unet3d.run_folder import run_folder
from unet3d.sampling.split_record import read_record
from unet3d.sweep.configurations import find_ensemble
from unet3d.training.run import run_training

OWN = "tests.training.some_metrics"
SETTINGS = (
    *("epochs=1", "steps_per_epoch=12", "lr=1e-2", "data.phantom.cases=6", "tracking=mlflow"),
    "tracking.system_metrics=false",
    f"validation.metrics={{overlap: {OWN}.overlap, volume: {OWN}.volume, nsd: {OWN}.volume}}",
)
REGIONS = ["whole_tumour", "tumour_core", "enhancing_tumour"]


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of sweep `folds`, two folds of which the first is trained with two seeds, and `alone`."""
    folder = tmp_path_factory.mktemp("folds")
    runs: list[str] = []
    for fold, seed in ((0, 0), (1, 0), (0, 1)):
        own = (f"data.fold={fold}", "data.folds=2", f"seed={seed}", f"output_dir={folder}")
        run_training(small_config(folder, *SETTINGS, *own))
        (new,) = {path.name for path in (folder / "runs").iterdir()} - set(runs)
        runs.append(new)
    sweep = write_sweep(folder, "folds", run_id=_parent(folder))
    for number, (run, fold, seed) in enumerate(zip(runs, "010", "001", strict=True)):
        swept = {"data.folds": "2", "data.fold": fold, "seed": seed}
        write_trial(sweep, number, swept, [0.5], run_id=run)
    alone = write_sweep(folder, "alone")
    write_trial(alone, 0, {"lr": "1e-2"}, [0.5], run_id=runs[1])
    return folder


def _parent(folder: Path) -> str:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name != 'Default'")
    return str(client.create_run(experiment.experiment_id).info.run_id)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> int:
    """Columns of the terminal that the commands print to: too few for their tables."""
    for name, value in {"TTY_COMPATIBLE": "1", "NO_COLOR": "1", "COLUMNS": "60"}.items():
        monkeypatch.setenv(name, value)
    return 60


def check_list(printed: str, columns: int, *named: str) -> None:
    """Each region's entry is whole, with the names of its values, on lines that fit."""
    lines = printed.splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(printed.split())
    for region in REGIONS:
        assert f"region {region}: dice 0." in text
    assert all(text.count(f"{name} ") == len(REGIONS) for name in named)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_case_is_scored_by_the_fold_that_left_it_out(
    output_dir: Path, narrow: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """All cases outside the test part in one table, by the mean of the seeds of their fold."""
    main(["evaluate", "sweep=folds", f"output_dir={output_dir}", "workers=1"])
    check_list(capsys.readouterr().out, narrow, "deviation", "hd95", "lesion_f1", "volume")
    own = find_ensemble(str(output_dir), "folds")
    assert own.out_of_fold is not None
    table = rows_of(own.out_of_fold / "cases.csv")
    splits = {}
    for run in own.runs:
        record = read_record(run_folder(output_dir, run).split)
        assert record is not None
        splits[run] = record.split
    assert {row["case"] for row in table} == {case for s in splits.values() for case in s.val}
    assert len(table) == 5 * len(REGIONS)
    for row in table:
        scored_by = set(row["run"].split(","))
        assert scored_by == {run for run, split in splits.items() if row["case"] in split.val}
        assert all(row["case"] not in splits[run].train for run in scored_by)
    assert {len(row["run"].split(",")) for row in table} == {1, 2}
    for row in table:  # metrics of validation.metrics, of each output and of the whole case
        assert float(row["overlap"]) == pytest.approx(float(row["dice"]), abs=1e-5)
        assert float(row["volume"]) == float(row["own_nsd"]) > 0
    summary = json.loads((own.out_of_fold / "summary.json").read_text())
    assert list(summary) == REGIONS
    dice = [float(row["dice"]) for row in table if row["region"] == "whole_tumour"]
    assert summary["whole_tumour"]["dice"]["mean"] == pytest.approx(np.mean(dice), abs=1e-5)
    assert summary["whole_tumour"]["dice"]["std"] == pytest.approx(np.std(dice, ddof=1), abs=1e-5)
    assert {path.name for path in own.out_of_fold.iterdir()} >= {
        *("calibration.csv", "calibration.png", "boxplots.png", "predictions", "figures")
    }
    client = MlflowClient(f"sqlite:///{output_dir / 'mlflow.db'}")
    metrics = client.get_run(str(own.record)).data.metrics
    assert metrics["out_of_fold/dice_whole_tumour"] == pytest.approx(np.mean(dice), abs=1e-5)
    assert 0 <= metrics["out_of_fold/ece_tumour_core"] <= 1


def test_a_sweep_without_folds_is_evaluated_on_its_test_cases(
    output_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, as a run is; so are folds with part=test, by their mean."""
    typed = [f"output_dir={output_dir}", "workers=1"]
    main(["evaluate", "sweep=alone", *typed])
    own = find_ensemble(str(output_dir), "alone")
    assert own.test is not None
    assert len(rows_of(own.test / "cases.csv")) == len(REGIONS)  # one test case
    with pytest.raises(SystemExit):
        main(["evaluate", "sweep=alone", *typed])
    assert "sweep=alone were evaluated before" in capsys.readouterr().err
    main(["evaluate", "sweep=folds", "part=test", *typed])
    together = find_ensemble(str(output_dir), "folds").test
    assert together is not None
    assert {row["run"].count(",") for row in rows_of(together / "cases.csv")} == {2}


def test_results_of_earlier_weights_are_named(
    output_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a run that was trained on, with the command that makes them again; not before."""
    copy = shutil.copytree(output_dir, tmp_path / "outputs")
    own = find_ensemble(str(copy), "folds")
    assert own.test is not None and own.out_of_fold is not None and own.tuned is not None
    for folder in (own.test, own.out_of_fold):
        keep_weights(folder, own, str(copy))
    write_tuned(own.tuned, Tuned(weights_of(own, str(copy)), {}, {}, {}, 5))
    warn_of_stale(own, str(copy))
    assert not caplog.text
    weights = run_folder(copy, own.runs[0]).best_weights
    weights.write_bytes(weights.read_bytes() + b"trained on")
    warn_of_stale(own, str(copy), (own.out_of_fold,))
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 2 and all(f"today's of {own.runs[0]}, which was" in one for one in named)
    assert named[0].startswith(str(own.test)) and named[0].endswith("unet3d evaluate sweep=folds")
    assert named[1].startswith(str(own.tuned)) and named[1].endswith("unet3d tune sweep=folds")


@pytest.mark.parametrize("typed", ["sweep=folds", "run"])
def test_choices_are_made_on_cases_that_were_not_trained_on(
    output_dir: Path,
    typed: str,
    narrow: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Thresholds and steps that are at least as good there, kept for predict and evaluate."""
    run = find_ensemble(str(output_dir), "alone").runs[0]
    name = f"run={run}" if typed == "run" else typed
    main(["tune", name, f"output_dir={output_dir}"])
    check_list(capsys.readouterr().out, narrow, "threshold")
    own = ensemble_of([run], str(output_dir)) if typed == "run" else None
    folder = (own or find_ensemble(str(output_dir), "folds")).folder
    assert folder is not None
    tuned = json.loads((folder / "tuned.json").read_text())
    assert tuned["cases"] == (2 if typed == "run" else 5)
    few = f"chosen on {tuned['cases']} cases: with fewer than 6 even a gain in every one of them"
    assert few in caplog.text and ("choose on all folds" in caplog.text) == (typed == "run")
    for found in tuned["dice"].values():
        assert (
            found["at_threshold_postprocessed"] >= found["at_threshold"] >= found["at_0.5"] - 1e-9
        )
        assert found["at_0.5_postprocessed"] >= found["at_0.5"]
    assert not [path for path in folder.iterdir() if path.name.startswith(".tuned")]
    output = folder / "preds"
    scans = output_dir / "phantom_smoke" / "imagesTr"
    main(
        [
            *("predict", name, f"output_dir={output_dir}", f"input={scans}", f"output={output}"),
            *("thresholds=auto", "postprocess=auto", "probabilities=true", "uncertainty=true"),
        ]
    )
    written = sorted(path.name for path in output.glob("*.nii.gz"))
    assert len(written) == 6
    for part in (*(f"probabilities/{region}" for region in REGIONS), "uncertainty/entropy"):
        assert sorted(path.name for path in (output / part).iterdir()) == written
    assert (output / "uncertainty" / "mutual_information").exists() == (typed != "run")
    if typed == "run":
        _check_masks(output, tuned["thresholds"]["whole_tumour"], tuned["at_thresholds"])


def _check_masks(output: Path, threshold: float, steps: dict[str, dict[str, object]]) -> None:
    """Without post-processing, the mask is where the probability is above the threshold."""
    if any(one["largest"] or one["min_volume"] for one in steps.values()):
        return
    for path in output.glob("*.nii.gz"):
        share = np.asarray(
            nibabel.load(output / "probabilities" / "whole_tumour" / path.name).dataobj
        )  # type: ignore[attr-defined]
        labels = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
        wrong = ((share > threshold) != (labels > 0)).mean()
        assert wrong < 0.01  # nested regions that contradict each other


def test_a_choice_made_before_more_training_is_refused(
    output_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other weights are another network; the line says what to type."""
    own = find_ensemble(str(output_dir), "folds")
    assert own.tuned is not None
    before = own.tuned.read_text() if own.tuned.exists() else None
    steps = {region: PostprocessConfig() for region in REGIONS}
    shares = dict.fromkeys(REGIONS, 0.5)
    write_tuned(own.tuned, Tuned({"a": "00000000"}, shares, steps, steps, 5))
    with pytest.raises(SystemExit):
        main(["evaluate", "sweep=folds", f"output_dir={output_dir}", "postprocess=auto"])
    assert "postprocess: " in (told := capsys.readouterr().err) and "tune sweep=folds" in told
    own.tuned.unlink()
    if before is not None:
        own.tuned.write_text(before)


def test_runs_whose_splits_cross_are_refused(output_dir: Path) -> None:
    """A case that one has trained on would be counted as left out by the other."""
    runs = find_ensemble(str(output_dir), "folds").runs
    crossed = run_folder(output_dir, runs[1]).split
    text = crossed.read_text()
    found = json.loads(text)
    other = json.loads(run_folder(output_dir, runs[0]).split.read_text())
    found["val"] = [*found["val"], other["val"][0]]
    try:
        crossed.write_text(json.dumps(found))
        with pytest.raises(RunError, match="do not split the cases alike, so that PHANTOM_"):
            cases_of_validation(ensemble_of(runs, str(output_dir)), str(output_dir), "refuse")
    finally:
        crossed.write_text(text)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["evaluate", "sweep=folds", "run=a"], "type either run=<id> or sweep=<name>"),
        (["evaluate", "run=a", "pred=x"], "give either run=<id>, or pred=<folder>"),
        (["evaluate", "pred=x", "truth=x", "thresholds=auto"], "are scored as they are"),
        (["evaluate", "sweep=none"], "sweep: none does not exist; in"),
        (["evaluate", "run=a", "configuration=lr=1"], "configuration: is of a sweep"),
        (["tune"], "type either run=<id> or sweep=<name>"),
        (["tune", "sweep=folds", "configuration=lr=1"], "is not in folds, which has: all"),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(
    output_dir: Path, capsys: pytest.CaptureFixture[str], typed: list[str], message: str
) -> None:
    """Before TensorFlow is there."""
    with pytest.raises(SystemExit):
        main([*typed, f"output_dir={output_dir}"])
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
