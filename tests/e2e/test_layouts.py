"""Data sets of each layout, from their files to a trained and evaluated network."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.layout_folders import CHANNELS, save_itk, write_folders, write_nnunet, write_table
from tests.nifti_files import save, volumes
from tests.preprocessing.test_dicom_cases import write_cases
from tests.preprocessing.test_scales import write_ct
from unet3d.cli import main
from unet3d.config.compose import compose_config, stored_config
from unet3d.datasets.nifti import Header
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
    for index in range(6):
        image, label = volumes(index)
        save_itk(root / f"case_{index}.mha", image)
        save_itk(root / "labels" / f"case_{index}.mha", label)
        lines.append(f"case_{index}.mha,labels/case_{index}.mha,p{index // 2}")
    (root / "cases.csv").write_text("\n".join(lines) + "\n")
    split = "data.split={train:.34,val:.33,test:.33}"  # of three patients
    labels = "data.labels={1:edema,2:core}"
    return ["data=table", f"data.root={root / 'cases.csv'}", labels, split]


def _dicom(root: Path) -> list[str]:
    """A series of a CT and a label file in the folder of each case."""
    write_cases(root, 4)
    pattern, label = "data.pattern={case}/{channel}/", "data.label={case}/label.nii.gz"
    return ["data=folders", f"data.root={root}", pattern, label, "data.labels={1:tumour}"]


def _version_1(root: Path) -> list[str]:
    """nnU-Net's first layout: the Decathlon's description over files that end in _0000."""
    write_nnunet(root, 4)
    names = [f"case_{index}.nii.gz" for index in range(4)]
    content = {
        "modality": {"0": "FLAIR", "1": "T1"},
        "labels": {"0": "background", "1": "edema", "2": "core"},
        "training": [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names
        ],
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return ["data=nnunet", f"data.root={root}"]


def _datalist(root: Path) -> list[str]:
    """MONAI's list of cases, with the parts that it gives them."""
    write_folders(root, 4)
    entries = [
        {
            "image": [f"case_{i}/case_{i}-{kind}.nii.gz" for kind in CHANNELS],
            "label": f"case_{i}/case_{i}-seg.nii.gz",
        }
        for i in range(4)
    ]
    parts = {"training": entries[:2], "validation": entries[2:3], "test": entries[3:]}
    (root / "datalist.json").write_text(json.dumps(parts))
    return ["data=table", f"data.root={root / 'datalist.json'}", "data.labels={1:edema,2:core}"]


def _bids(root: Path) -> list[str]:
    """Two sessions of each of three subjects, labels in derivatives."""
    for index in range(6):
        image, label = volumes(index)
        anat = f"sub-{index // 2}/ses-{index % 2}/anat/sub-{index // 2}_ses-{index % 2}"
        for channel, name in enumerate(("FLAIR", "T1w")):
            save(root / f"{anat}_{name}.nii.gz", image[..., channel])
        save(root / "derivatives" / "manual" / f"{anat}_dseg.nii.gz", label)
    anat = "sub-{group}/ses-{case}/anat/sub-{group}_ses-{case}"
    return [
        *("data=folders", f"data.root={root}", f"data.pattern={anat}_{{channel}}.nii.gz"),
        f"data.label=derivatives/manual/{anat}_dseg.nii.gz",
        *("data.labels={1:edema,2:core}", "data.split={train:.34,val:.33,test:.33}"),
    ]


def _lesions(root: Path) -> list[str]:
    """Eight voxels among 36,864, drawn from by the share that is asked for."""
    write_nnunet(root, 4, labels={"background": 0, "lesion": 1})
    for index in range(4):
        random = np.random.default_rng(index)
        label = np.zeros((48, 48, 16), np.uint8)
        x, y, z = random.integers(4, 40, 3) % (40, 40, 10)
        label[x : x + 2, y : y + 2, z : z + 2] = 1
        for channel in range(2):
            image = random.integers(1, 900, label.shape).astype(np.int16) + np.int16(500) * label
            save(root / "imagesTr" / f"case_{index}_{channel:04d}.nii.gz", image)
        save(root / "labelsTr" / f"case_{index}.nii.gz", label)
    found = ["data.foreground_shares={1:1}", "loss.batch_dice=true", "loss.class_weights=[5]"]
    return ["data=nnunet", f"data.root={root}", *found]


@dataclass(frozen=True)
class Kind:
    """make: writes the data set, returns what is typed for it. scan: the files of a case."""

    make: Callable[[Path], list[str]]
    scan: tuple[str, ...]
    outputs: tuple[str, ...] = ("edema", "core")


def _numbered(ending: str = ".nii.gz") -> tuple[str, ...]:
    return tuple(f"imagesTr/case_3_{channel:04d}{ending}" for channel in range(2))


KINDS = {
    "nnunet": Kind(_nnunet, _numbered(".mha"), ("whole", "core")),
    "version_1": Kind(_version_1, _numbered()),
    "table": Kind(_table, tuple(f"files/case_3/case_3-{kind}.nii.gz" for kind in CHANNELS)),
    "datalist": Kind(_datalist, tuple(f"case_3/case_3-{kind}.nii.gz" for kind in CHANNELS)),
    "folders": Kind(_folders, tuple(f"case_3/case_3-{kind}.nii.gz" for kind in CHANNELS)),
    "bids": Kind(
        _bids, tuple(f"sub-1/ses-1/anat/sub-1_ses-1_{name}.nii.gz" for name in ("FLAIR", "T1w"))
    ),
    "ct": Kind(_ct, _numbered()[:1]),
    "prostate": Kind(_prostate, _numbered()),
    "lesions": Kind(_lesions, _numbered(), ("lesion",)),
    "micrometres": Kind(_micrometres, _numbered(".nrrd")),
    "vectors": Kind(_vectors, ("case_3.mha",)),
    "dicom": Kind(_dicom, ("p3/scan0",), ("tumour",)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_data_set_trains_predicts_and_evaluates(tmp_path: Path, name: str) -> None:
    """As it is, without conversion; the segmentation lies on the grid of the case's files."""
    kind, raw = KINDS[name], tmp_path / "raw"
    overrides = kind.make(raw)
    small = ["tracking=none", "epochs=1", f"output_dir={tmp_path}", *SMALL]
    run_training(compose_config([*small, *overrides]))
    (run,) = (tmp_path / "runs").iterdir()
    own, output = [f"run={run.name}", f"output_dir={tmp_path}"], tmp_path / "seg.nii.gz"
    given = ",".join(str(raw / file) for file in kind.scan)
    main(["predict", *own, f"input={given}", f"output={output}"])
    expected = read_header(raw / kind.scan[0])
    _check_grid(output, expected)
    main(["evaluate", *own])
    predictions = sorted((run / "test" / "predictions").glob("*.nii.gz"))
    assert predictions
    for prediction in predictions:  # the cases of a kind have one grid
        _check_grid(prediction, expected)
    rows = list(csv.DictReader((run / "test" / "summary.csv").open()))
    assert set(kind.outputs) <= {row["region"] for row in rows}

    described = json.loads((run / "dataset.json").read_text())
    assert (described.get("normalize") == ["ct"]) == (name in ("ct", "dicom"))
    if name == "prostate":  # its slices are pooled once the others are as coarse
        assert stored_config(run / "config.yaml").model.strides == [[2, 2, 1], [2, 2, 1]]
    if name in ("vectors", "bids"):  # scans of one patient are in one part
        parts = json.loads((run / "split.json").read_text())
        patients = [{_patient(case) for case in parts[part]} for part in ("train", "val", "test")]
        assert sorted(map(len, patients)) == [1, 1, 1]
    if name == "datalist":
        parts = json.loads((run / "split.json").read_text())
        assert parts["val"] == ["case_2"] and parts["test"] == ["case_3"]


def _check_grid(path: Path, expected: Header) -> None:
    found = nibabel.nifti1.load(path)
    assert found.shape == expected.shape[:3]
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)


def _patient(case: str) -> str:
    """Of case_3 or 1_0, as the two data sets with several scans of a patient name them."""
    return str(int(case[5:]) // 2) if case.startswith("case_") else case.split("_")[0]
