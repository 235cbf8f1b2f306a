"""Data sets of each layout, from their files to a trained and evaluated network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.layout_folders import save_itk, write_folders, write_nnunet, write_table
from tests.nifti_files import save, volumes
from tests.preprocessing.test_dicom_cases import write_cases
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


def _vectors(root: Path) -> list[str]:
    """One .mha a case, whose components are the sequences, in a table with patients."""
    lines = ["scan,label,group"]
    for index in range(4):
        image, label = volumes(index)
        save_itk(root / f"case_{index}.mha", image)
        save_itk(root / "labels" / f"case_{index}.mha", label)
        lines.append(f"case_{index}.mha,labels/case_{index}.mha,p{index // 2}")
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    split = "data.split={train:.5,val:.5,test:0}"  # of two patients
    labels = "data.labels={1:edema,2:core}"
    return ["data=table", f"data.root={root / 'cases.csv'}", labels, split]


def _dicom(root: Path) -> list[str]:
    """A series of a CT and a label file in the folder of each case."""
    write_cases(root, 4)
    pattern, label = "data.pattern={case}/{channel}/", "data.label={case}/label.nii.gz"
    return ["data=folders", f"data.root={root}", pattern, label, "data.labels={1:tumour}"]


@pytest.mark.parametrize(
    ("make", "scan"), [(_vectors, "case_3.mha"), (_dicom, "p3/scan0")], ids=["vectors", "dicom"]
)
def test_images_of_other_kinds_train_and_are_segmented(
    tmp_path: Path, make: Callable[[Path], list[str]], scan: str
) -> None:
    """ITK vector images and DICOM series: a segmentation on the grid that the image has."""
    overrides = make(tmp_path / "raw")
    small = ["tracking=none", "epochs=1", f"output_dir={tmp_path}", *SMALL]
    run_training(compose_config([*small, *overrides]))
    (run,) = (tmp_path / "runs").iterdir()
    split = json.loads((run / "split.json").read_text())
    if make is _vectors:
        assert sorted(map(sorted, (split["train"], split["val"]))) == [
            ["case_0", "case_1"],
            ["case_2", "case_3"],
        ]
    image, output = tmp_path / "raw" / scan, tmp_path / "seg.nii.gz"
    main(
        [
            "predict",
            f"run={run.name}",
            f"output_dir={tmp_path}",
            f"input={image}",
            f"output={output}",
        ]
    )
    found, expected = nibabel.nifti1.load(output), read_header(image)
    assert found.shape == expected.shape[:3]
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
    described = json.loads((run / "dataset.json").read_text())
    assert (described.get("normalize") == ["ct"]) == (make is _dicom)


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
