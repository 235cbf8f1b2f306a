"""Data sets of each layout, from their files to a trained and evaluated network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.layout_folders import save_itk, write_folders, write_nnunet, write_table
from tests.nifti_files import save
from tests.preprocessing.test_scales import write_ct
from unet3d.cli import main
from unet3d.config.compose import compose_config, stored_config
from unet3d.datasets.volumes import read_header, read_voxels
from unet3d.training.run import run_training

SMALL = (
    *("data.patch=[8,8,8]", "data.split={train:.5,val:.25,test:.25}"),
    *("model.depth=2", "model.filters=4", "steps_per_epoch=1", "batch_size=1"),
)


def _nnunet(root: Path) -> list[str]:
    labels = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}
    write_nnunet(root, 4, ".mha", labels=labels, regions_class_order=[1, 2])
    for path in (root / "labelsTr").iterdir():  # nothing is known of the last slices
        voxels, header = read_voxels(path)
        unknown = voxels.copy()
        unknown[:, :, 6:] = 3
        save_itk(path, unknown, header.affine)
    return ["data=nnunet", f"data.root={root}"]


def _table(root: Path) -> list[str]:
    table = write_table(root, 4, group=["a", "a", "b", "c"])
    return ["data=table", f"data.root={table}", "data.labels={1:edema,2:core}"]


def _folders(root: Path) -> list[str]:
    pattern = "data.pattern={case}/{case}-{channel}.nii.gz"
    found = ["data=folders", f"data.root={write_folders(root, 4)}"]
    return [*found, pattern, "data.labels={1:edema,2:core}"]


def _ct(root: Path) -> list[str]:
    write_ct(root, 4)
    return ["data=nnunet", f"data.root={root}"]


def _prostate(root: Path) -> list[str]:
    affine = np.diag([-0.6, -0.6, 3.6, 1.0])
    write_nnunet(root, 4)
    for index in range(4):
        random = np.random.default_rng(index)
        for channel in range(2):
            image = random.integers(1, 900, (32, 32, 12)).astype(np.int16)
            save(root / "imagesTr" / f"case_{index}_{channel:04d}.nii.gz", image, affine)
        label = np.zeros((32, 32, 12), np.uint8)
        label[10:20, 10:20, 4:8], label[12:16, 12:16, 5:7] = 1, 2
        save(root / "labelsTr" / f"case_{index}.nii.gz", label, affine)
    auto = ["model.topology=auto", "data.patch=auto", "data.patch_memory=0.02"]
    return ["data=nnunet", f"data.root={root}", "model=resunet", *auto]


def _micrometres(root: Path) -> list[str]:
    write_nnunet(root, 4, ".nrrd", affine=np.diag([-0.005, -0.005, 0.005, 1.0]))
    return ["data=nnunet", f"data.root={root}"]


@pytest.mark.parametrize(
    ("make", "outputs"),
    [
        (_nnunet, ["whole", "core"]),
        (_table, ["edema", "core"]),
        (_folders, ["edema", "core"]),
        (_ct, ["edema", "core"]),
        (_prostate, ["edema", "core"]),
        (_micrometres, ["edema", "core"]),
    ],
)
def test_a_layout_trains_predicts_and_evaluates(
    tmp_path: Path, make: Callable[[Path], list[str]], outputs: list[str]
) -> None:
    """As it is, without conversion; the prediction lies on the grid of the case's files."""
    overrides = make(tmp_path / "raw")
    small = ["tracking=none", "epochs=1", f"output_dir={tmp_path}", *SMALL]
    run_training(compose_config([*small, *overrides]))
    (run,) = (tmp_path / "runs").iterdir()
    arguments = [f"run={run.name}", f"output_dir={tmp_path}"]
    main(["evaluate", *arguments])
    described = json.loads((run / "dataset.json").read_text())
    assert (described.get("normalize") == ["ct"]) == (make is _ct)
    summary = (run / "test" / "summary.csv").read_text()
    assert all(name in summary for name in outputs)
    (prediction,) = (run / "test" / "predictions").glob("*.nii.gz")
    found = nibabel.nifti1.load(prediction)
    kind = "*-t1.nii.gz" if make in (_table, _folders) else "*_0000.*"
    expected = read_header(next((tmp_path / "raw").rglob(kind)))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-5)
    if make is _prostate:  # its slices are pooled once the others are as coarse
        assert stored_config(run / "config.yaml").model.strides == [[2, 2, 1], [2, 2, 1]]
