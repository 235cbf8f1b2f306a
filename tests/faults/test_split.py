"""A data set that changes after a run began: the run keeps its split, and changes are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.nifti_files import save, volumes, write_dataset
from unet3d.config.compose import compose_config
from unet3d.config.schema import Config, EvaluateConfig
from unet3d.errors import DataError
from unet3d.evaluation.held_out import cases_of_test
from unet3d.inference.ensemble import ensemble_of
from unet3d.run_folder import RunFolder, run_folder
from unet3d.sampling.find_split import recorded_split
from unet3d.sampling.split import Split, make_split
from unet3d.sampling.split_record import read_record
from unet3d.sweep.stores import make_stores
from unet3d.sweep.sweep_folder import sweep_folder
from unet3d.sweep.trial import Trial
from unet3d.training.resume import resumed_config
from unet3d.training.run import run_training
from unet3d.training.setup import make_data

SIX, SEVEN = ([f"case_{index}" for index in range(count)] for count in (6, 7))


def settings(folder: Path, *overrides: str) -> Config:
    """Of a small training on the data set in `folder`/raw, recorded in an MLflow store there."""
    base = ["experiment=smoke", "data=msd", f"data.root={folder}/raw", "data.patch=[8,8,8]"]
    base += [f"output_dir={folder}/out", "tracking.system_metrics=false", "validation.overlap=0"]
    return compose_config([*base, *overrides])


def resumed(folder: Path, run: RunFolder, *overrides: str) -> Config:
    """The settings of `train.py resume=<run>` with `overrides`."""
    typed = [f"resume={run.run_id}", *overrides]
    return resumed_config(settings(folder, *typed), typed)


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set of six cases and a run that has trained on them."""
    folder = tmp_path_factory.mktemp("split")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        write_dataset(folder / "raw", cases=6)
        run_training(settings(folder))
    return folder


@pytest.fixture
def grown(began: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, RunFolder]:
    """A copy of that, with a seventh case; and its run."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(began / "raw", tmp_path / "raw")
    shutil.copytree(began / "out", tmp_path / "out")
    write_dataset(tmp_path / "raw", cases=7)
    (run,) = (tmp_path / "out" / "runs").iterdir()
    config = RunFolder(run).config
    config.write_text(config.read_text().replace(str(began), str(tmp_path)))
    return tmp_path, RunFolder(run)


def split_of_six(folder: Path) -> Split:
    """What the run began with; with seven cases another one would be made."""
    data = settings(folder).data
    split = make_split(SIX, data)
    assert set(make_split(SEVEN, data).test) & {*split.train, *split.val}
    return split


def change(folder: Path, case: str, kind: str) -> None:
    """Another image or label for a case."""
    voxels = volumes(99)[kind == "labelsTr"]
    voxels[5, 5, 5] = 2
    save(folder / "raw" / kind / f"{case}.nii.gz", voxels)


def test_a_resumed_run_keeps_its_split_and_digest(
    grown: tuple[Path, RunFolder], caplog: pytest.LogCaptureFixture
) -> None:
    """No former test case is trained on; what is new is left out, in one line."""
    folder, run = grown
    before = read_record(run.split)
    with caplog.at_level("INFO"):
        store, _, record = make_data(resumed(folder, run))
    assert f"in no part of the split of run {run.run_id}: case_6" in caplog.text
    assert record == before and record.split == split_of_six(folder)
    assert set(store.cases) == set(SEVEN) and record.digest != store.digest


def test_evaluate_scores_the_test_cases_that_the_run_kept(grown: tuple[Path, RunFolder]) -> None:
    """And no other, such as one that it has trained on."""
    from unet3d.evaluation.test_set import evaluate_ensemble

    folder, run = grown
    settings = EvaluateConfig(run=run.run_id, output_dir=f"{folder}/out", workers=1)
    rows = evaluate_ensemble(settings, ensemble_of([run.run_id], settings.output_dir)).rows
    assert {case for case, _, _ in rows} == set(split_of_six(folder).test)


@pytest.mark.parametrize("kind", ["imagesTr", "labelsTr"])
def test_changed_and_missing_cases_are_refused_by_name(
    grown: tuple[Path, RunFolder], kind: str
) -> None:
    """One line with the cases and what to type, before the store is built again."""
    folder, run = grown
    split = split_of_six(folder)
    change(folder, split.train[0], kind)
    described = json.loads((folder / "raw" / "dataset.json").read_text())
    lost = split.val[0]
    described["training"] = [e for e in described["training"] if lost not in e["image"]]
    (folder / "raw" / "dataset.json").write_text(json.dumps(described))
    stores = list((folder / "out" / "stores").iterdir())
    with pytest.raises(DataError) as caught:
        make_data(resumed(folder, run))
    line = str(caught.value)
    assert f"began: changed {split.train[0]}; missing {lost}; put back" in line
    assert "or type data.changed=accept" in line and "\n" not in line
    assert list((folder / "out" / "stores").iterdir()) == stores


def test_a_changed_test_case_is_refused_by_evaluate_alone(grown: tuple[Path, RunFolder]) -> None:
    """Training never reads it; what is scored is what the run kept, or accepted."""
    folder, run = grown
    change(folder, split_of_six(folder).test[0], "labelsTr")
    config = resumed(folder, run)
    make_data(config)
    own, place = ensemble_of([run.run_id], f"{folder}/out"), f"{folder}/out"
    with pytest.raises(DataError, match="changed case_.*or type changed=accept to go on"):
        cases_of_test(own, place, "refuse")
    (found,) = cases_of_test(own, place, "accept")
    assert len(found.cases) == 1


def test_accepted_changes_are_kept_and_recorded(grown: tuple[Path, RunFolder]) -> None:
    """data.changed=accept goes on once, with as many steps as before, and says so in a tag."""
    folder, run = grown
    split = split_of_six(folder)
    change(folder, split.train[0], "labelsTr")
    client = MlflowClient(settings(folder).tracking.uri)
    digest = client.get_run(run.run_id).data.tags["data.digest"]
    run_training(resumed(folder, run, "epochs=2", "data.changed=accept"))
    tags = client.get_run(run.run_id).data.tags
    assert tags["data.accepted"] == f"changed {split.train[0]}" and tags["data.digest"] != digest
    _, _, record = make_data(resumed(folder, run))
    assert record.split == split and record.accepted == (f"changed {split.train[0]}",)


def test_labels_of_another_meaning_are_refused(grown: tuple[Path, RunFolder]) -> None:
    """A network's outputs are those of the labels that it began with."""
    folder, run = grown
    described = json.loads((folder / "raw" / "dataset.json").read_text())
    described["labels"] = {"0": "background", "1": "core", "2": "edema"}
    (folder / "raw" / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match="'labels' is .* when run .* began; put it back, or type"):
        make_data(resumed(folder, run))


@pytest.mark.parametrize("place", ["tracking", "store", "none"])
def test_a_run_of_an_earlier_version_uses_what_it_kept_elsewhere(
    grown: tuple[Path, RunFolder], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The artifact, then the file beside the store; else a warning that the split is made again."""
    folder, run = grown
    config = resumed(folder, run, *(["tracking=none"] if place != "tracking" else []))
    run.split.unlink()
    split = split_of_six(folder)
    if place == "store":
        (store,) = (folder / "out" / "stores").iterdir()
        (store / "splits").mkdir()
        parts = {"train": split.train, "val": split.val, "test": split.test}
        (store / "splits" / "seed0_0.5-0.25-0.25.json").write_text(json.dumps(parts))
    record = recorded_split(config)
    assert (record is None) == (place == "none")
    assert record is None or record.split == split
    assert ("kept no split, so that it is made again" in caplog.text) == (place == "none")


def test_a_fetched_run_has_its_split(grown: tuple[Path, RunFolder]) -> None:
    """On another machine the tracking store alone knows which cases are its test cases."""
    from unet3d.inference.network import run_files

    folder, run = grown
    shutil.rmtree(run.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", settings(folder).tracking.uri)
        fetched = run_files(run.run_id, f"{folder}/out")
    record = read_record(fetched.split)
    assert record is not None and record.split == split_of_six(folder)


def test_a_run_that_had_trained_on_nothing_may_begin_anew(tmp_path: Path) -> None:
    """A trial that was lost before its first checkpoint has no split to keep."""
    config = settings(tmp_path, "resume=abc")
    run_folder(config.output_dir, "abc").checkpoints.mkdir(parents=True)
    assert recorded_split(config) is None


def test_a_sweep_that_goes_on_compares_trials_on_the_same_cases(
    began: Path, grown: tuple[Path, RunFolder]
) -> None:
    """Trials that start after the data set grew would have another split than those before."""
    folder, _ = grown
    sweep = sweep_folder(folder / "out", "s")

    def go_on(cases: int, *overrides: str) -> None:
        write_dataset(folder / "raw", cases=cases)
        make_stores([Trial(0, (), {}, settings(folder, *overrides))], sweep)

    go_on(6)
    go_on(6)
    with pytest.raises(DataError, match="sweep s began: new case_6, so that .*data.changed=acc"):
        go_on(7)
    go_on(7, "data.changed=accept")
    go_on(7)
