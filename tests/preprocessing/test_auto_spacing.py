"""data.spacing=auto on small data sets of real files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.nifti_files import config, write_dataset
from tests.small import small_config
from unet3d.config.compose import compose_config
from unet3d.distributed.worker import SINGLE_WORKER
from unet3d.errors import ConfigError, DataError
from unet3d.preprocessing.auto_spacing import choose_spacing
from unet3d.preprocessing.preprocess import find_store, preprocess
from unet3d.preprocessing.verify import built_store
from unet3d.training.resume import keep_patch
from unet3d.training.setup import make_setup

BRAIN = (138, 171, 137)


def test_spacing_of_a_coarse_axis_is_its_tenth_percentile():
    """The heart in MRI: slices of 5 to 10 mm over a plane of 1.5 mm, few of them."""
    spacings = [(1.5, 1.4, 10)] * 16 + [(1.5, 1.4, 5)] * 4
    chosen = choose_spacing(spacings, [(200, 220, 10)] * 20)
    assert chosen.mm == (1.5, 1.4, 5) and chosen.coarse == 2 and not chosen.uniform
    many_slices = choose_spacing(spacings, [(200, 220, 100)] * 20)
    assert many_slices.mm == (1.5, 1.4, 10) and many_slices.coarse is None
    assert choose_spacing([(1, 1, 1), (1, 1, 1)], [BRAIN] * 2).uniform


def write(root: Path, spacings: list[tuple[float, ...]], shape: tuple[int, int, int]) -> Path:
    """A data set with a case of each of these spacings, a frame of zeros around each."""
    write_dataset(root, cases=len(spacings), channels=1)
    for index, spacing in enumerate(spacings):
        image, label = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
        image[1:-1, 1:-1, 1:-1] = np.random.default_rng(index).integers(50, 900, image.shape)[
            1:-1, 1:-1, 1:-1
        ]
        label[4:8, 4:8, 1:3] = 1
        for folder, voxels in (("imagesTr", image), ("labelsTr", label)):
            scan = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1]))
            nibabel.save(scan, root / folder / f"case_{index}.nii.gz")
    return root


def test_the_median_without_a_look_at_the_volumes(tmp_path: Path, monkeypatch: Any) -> None:
    """By the headers, along x, y and z of the stored grid; a broken case does not count."""
    root = write(tmp_path / "raw", [(1, 2, 3), (1, 2, 3), (2, 2, 3)], (16, 12, 8))
    turned = nibabel.load(root / "imagesTr" / "case_1.nii.gz").as_reoriented(
        np.array([[2, 1], [0, -1], [1, 1]])
    )
    nibabel.save(turned, root / "imagesTr" / "case_1.nii.gz")
    (root / "imagesTr" / "case_2.nii.gz").write_bytes(b"broken")
    auto = config(tmp_path, spacing="auto", on_bad_case="skip", geometry="image")
    with monkeypatch.context() as patched:
        patched.setattr("unet3d.preprocessing.auto_spacing.read_voxels", None)
        assert find_store(auto) is None  # not built; asked without reading a volume
    with pytest.raises(DataError, match="case_1"):  # its label lies as before
        preprocess(config(tmp_path, spacing="auto", geometry="image"))
    assert preprocess(auto).resampled_to == [1, 2, 3]


def test_a_coarse_axis_by_the_cropped_sizes(
    tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Read once: the choice is kept beside the stores, for each set of files."""
    caplog.set_level(logging.INFO)
    spacings = [(1.0, 1.0, 8.0)] * 8 + [(1.0, 1.0, 4.0)] * 2
    write(tmp_path / "raw", spacings, (24, 24, 6))
    auto = config(tmp_path, spacing="auto")
    assert find_store(auto) is None
    store = preprocess(auto)
    assert store.resampled_to == [1.0, 1.0, 4.0]
    assert "auto: 1x1x4 mm, the median of all cases, z by nnU-Net's rule" in caplog.text
    assert store.cases["case_0"].shape == (22, 22, 8) and store.cases["case_9"].shape[2] == 4
    monkeypatch.setattr("unet3d.preprocessing.auto_spacing.read_voxels", None)
    found = find_store(auto)
    assert found is not None and found.path == store.path and found.resampled_to == [1, 1, 4]
    assert built_store(auto).path == store.path
    same = preprocess(config(tmp_path, spacing=[1.0, 1.0, 4.0]))
    assert same.path == store.path


def test_a_run_records_what_auto_stood_for(tmp_path: Path) -> None:
    """So that its predictions, and a resumed run, do not depend on the data set again."""
    auto = small_config(tmp_path, "data.spacing=auto")
    recorded = make_setup(auto, SINGLE_WORKER).config
    assert recorded.data.spacing == [5.0, 5.0, 5.0]
    folder = tmp_path / "runs" / "abc"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(stored(recorded))
    again = small_config(tmp_path, "data.spacing=auto", "resume=abc")
    assert keep_patch(again).data.spacing == [5.0, 5.0, 5.0]


def stored(config: Any) -> str:
    from omegaconf import OmegaConf

    from unet3d.config.schema import as_dict

    return OmegaConf.to_yaml(OmegaConf.create(as_dict(config)))


def test_whole_numbers_are_lengths_and_words_are_not() -> None:
    """[1,1,1] and [1.0,1.0,1.0] are one setting, also in the key of a trial."""
    spacing = compose_config(["data=msd", "data.root=x", "data.spacing=[1,1,2]"]).data.spacing
    assert [type(mm) for mm in spacing] == [float] * 3
    for wrong in ("finest", "[1,1]", "[1,a,1]", "{x:1}"):
        with pytest.raises(ConfigError, match="data.spacing: .* in \\[1,1,1\\], or auto"):
            compose_config(["data=msd", "data.root=x", f"data.spacing={wrong}"])
