"""`unet3d predict` and `unet3d evaluate` as a user types them, on a run of train.py."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from mlflow import MlflowClient

from tests import REPOSITORY
from tests.e2e.commands import run
from unet3d.datasets.decathlon import read_decathlon

SETTINGS = ("epochs=3", "steps_per_epoch=30", "lr=1e-2", "tracking.system_metrics=false")


@dataclass(frozen=True)
class TrainedNetwork:
    """A folder with outputs/, two runs in it, and the scans that they were trained on."""

    folder: Path
    runs: tuple[str, str]
    scan: Path
    label: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    folder = tmp_path_factory.mktemp("trained")
    ids: list[str] = []
    for seed in (0, 1):
        code, told = run(folder, *SETTINGS, f"seed={seed}")
        assert code == 0, told
        (new,) = {path.name for path in (folder / "outputs" / "runs").iterdir()} - set(ids)
        ids.append(new)
    root = folder / "outputs" / "phantom_smoke"
    dataset = read_decathlon(root)
    case = dataset.cases[0]
    return TrainedNetwork(
        folder, (ids[0], ids[1]), dataset.file(case.images[0]), dataset.file(case.label)
    )


def unet3d(folder: Path, *arguments: str) -> tuple[int, str]:
    """The `unet3d` command."""
    done = subprocess.run(
        [sys.executable, "-m", "unet3d.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    return 2 * float((truth & prediction).sum()) / float(truth.sum() + prediction.sum())


def read(path: Path) -> nibabel.Nifti1Image:
    return nibabel.load(path)  # type: ignore[return-value]


def test_a_scan_is_segmented_however_it_lies(tmp_path: Path, trained: TrainedNetwork) -> None:
    """Shape, affine and labels fit the scan; turned and mirrored, the same tissue is found."""
    scan = read(trained.scan)
    voxels = np.asarray(scan.dataobj)
    turned = np.flip(voxels.transpose(1, 0, 2, 3), axis=2)
    turn = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, voxels.shape[2] - 1], [0, 0, 0, 1]])
    nibabel.save(
        nibabel.Nifti1Image(np.ascontiguousarray(turned), scan.affine @ turn),
        tmp_path / "turned.nii.gz",
    )
    for path, output in ((trained.scan, "seg.nii.gz"), (tmp_path / "turned.nii.gz", "t.nii.gz")):
        code, told = unet3d(
            trained.folder,
            *("predict", f"run={trained.runs[0]}", f"input={path}", f"output={tmp_path / output}"),
        )
        assert code == 0 and "Traceback" not in told, told
    plain, other = read(tmp_path / "seg.nii.gz"), read(tmp_path / "t.nii.gz")
    assert plain.shape == scan.shape[:3] and plain.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(plain.affine, scan.affine)
    labels = np.asarray(plain.dataobj)
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    truth = np.asarray(read(trained.label).dataobj)
    assert dice(truth > 0, labels > 0) > 0.5
    back = np.flip(np.asarray(other.dataobj), axis=2).transpose(1, 0, 2)
    np.testing.assert_array_equal(back, labels)


def test_a_folder_by_an_ensemble_with_flips(tmp_path: Path, trained: TrainedNetwork) -> None:
    """Files of one sequence each are put together; a bad scan does not stop the others."""
    scans = tmp_path / "scans"
    scans.mkdir()
    scan = read(trained.scan)
    for channel in range(4):
        one = nibabel.Nifti1Image(np.asarray(scan.dataobj)[..., channel], scan.affine)
        nibabel.save(one, scans / f"good_{channel:04d}.nii.gz")
    (scans / "bad.nii.gz").write_bytes(trained.scan.read_bytes()[:2000])
    code, told = unet3d(
        trained.folder,
        *("predict", f"run={','.join(trained.runs)}", f"input={scans}"),
        *(f"output={tmp_path / 'preds'}", "tta=true", "postprocess.largest=true"),
    )
    assert code == 1, told
    assert "bad is left out" in told and "1 of 2 scans are segmented; left out: bad" in told
    assert "Traceback" not in told
    assert [path.name for path in (tmp_path / "preds").iterdir()] == ["good.nii.gz"]
    truth = np.asarray(read(trained.label).dataobj)
    labels = np.asarray(read(tmp_path / "preds" / "good.nii.gz").dataobj)
    assert dice(truth > 0, labels > 0) > 0.5


def test_a_run_is_evaluated_once_on_its_test_cases(trained: TrainedNetwork) -> None:
    """Tables and test/... in the same MLflow run; a second look must be asked for."""
    run_id = trained.runs[0]
    code, told = unet3d(trained.folder, "evaluate", f"run={run_id}")
    assert code == 0 and "Traceback" not in told, told
    with (trained.folder / "outputs" / "runs" / run_id / "test" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["region"] for row in rows} == {"whole_tumour", "tumour_core", "enhancing_tumour"}
    assert len(rows) == 3  # one test case
    store = MlflowClient(f"sqlite:///{trained.folder / 'outputs' / 'mlflow.db'}")
    metrics = store.get_run(run_id).data.metrics
    whole = next(row for row in rows if row["region"] == "whole_tumour")
    assert metrics["test/dice_whole_tumour"] == pytest.approx(float(whole["dice"]))
    assert {"test/dice", "test/hd95_whole_tumour", "test/nsd_tumour_core"} <= metrics.keys()
    assert {"test/summary.csv", "test/predictions", "test/figures"} <= {
        artifact.path for artifact in store.list_artifacts(run_id, "test")
    }
    (picture,) = store.list_artifacts(run_id, "test/figures")
    assert picture.path.startswith("test/figures/lowest_")
    case = rows[0]["case"]
    root = trained.folder / "outputs" / "phantom_smoke"
    kept = read(trained.folder / f"outputs/runs/{run_id}/test/predictions/{case}.nii.gz")
    truth = np.asarray(read(root / "labelsTr" / f"{case}.nii.gz").dataobj)
    assert dice(truth > 0, np.asarray(kept.dataobj) > 0) == pytest.approx(float(whole["dice"]))
    code, told = unet3d(trained.folder, "evaluate", f"run={run_id}")
    assert code == 2 and "were evaluated before" in told and "again=true" in told
    again = ("again=true", "precision=mixed_bfloat16")
    code, told = unet3d(trained.folder, "evaluate", f"run={run_id}", *again)
    assert code == 0, told
    halved = store.get_run(run_id).data.metrics["test/dice_whole_tumour"]
    assert halved == pytest.approx(metrics["test/dice_whole_tumour"], abs=0.02)


def test_two_folders_are_compared_without_a_network(
    tmp_path: Path, trained: TrainedNetwork
) -> None:
    """Truth against itself is perfect; a file that is missing is told."""
    truth = trained.label.parent
    code, told = unet3d(
        tmp_path,
        "evaluate",
        f"pred={truth}",
        f"truth={truth}",
        "regions=msd_brain",
        "output=tables",
    )
    assert code == 0, told
    with (tmp_path / "tables" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and all(float(row["dice"]) == 1 for row in rows)
    assert all(float(row["hd95"]) == 0 for row in rows)
    few = tmp_path / "few"
    few.mkdir()
    (few / trained.label.name).write_bytes(trained.label.read_bytes())
    code, told = unet3d(tmp_path, "evaluate", f"pred={few}", f"truth={truth}")
    assert code == 2 and "lacks 3 of 4 segmentations" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("predict", "run=nothing", "input=.", "output=x"),
            "run: nothing is not a run in outputs/runs",
        ),
        (("predict", "run=nothing", "output=x"), "input is not set"),
        (("predict", "run=a", "inptu=b"), "inptu is not a setting; choose one of run, input"),
        (("evaluate",), "type run=<id>, or pred=<folder> truth=<folder>"),
        (("evaluate", "run=a", "precision=fp8"), "precision: fp8 is not possible; it must be"),
        (("evaluate", "run=nothing"), "run: nothing is not a run in outputs/runs"),
        (("evaluate", "pred=a", "truth=b"), "b: not a folder"),
        (("evaluate", "pred=.", "truth=."), ".: contains no .nii.gz or .nii file"),
        (("evaluate", "run=a", "tolerance=x"), "tolerance: 'x' does not fit; it must be a number"),
    ],
)
def test_what_cannot_work_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    """Exit code 2, and no traceback."""
    code, output = unet3d(tmp_path, *arguments)
    assert code == 2 and told in output and "Traceback" not in output, output
