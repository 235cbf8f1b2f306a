"""CT: kept in its units, then clipped and standardised by the training cases' labelled voxels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.layout_folders import write_nnunet
from tests.nifti_files import config, save
from unet3d.config.schema import DataConfig
from unet3d.datasets.read import read_dataset
from unet3d.errors import ConfigError, DataError
from unet3d.preprocessing.channel_methods import with_methods
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.scales import ChannelScale, scaled, training_scales

SHAPE = (12, 14, 10)


def write_ct(root: Path, cases: int = 3, name: str = "CT") -> list[np.ndarray]:
    """Noisy air of about -1000 HU around a body with voxels of exactly 0; the last has metal."""
    write_nnunet(root, cases, channel_names={"0": name})
    volumes = []
    for index in range(cases):
        random = np.random.default_rng(index)
        volume = random.integers(-1024, -980, SHAPE).astype(np.int16)
        volume[2:10, 2:12, 2:8] = random.integers(-100, 200, (8, 10, 6))
        volume[5, 5, 5] = 0
        if index == cases - 1:
            volume[6, 6, 6] = 3000
        save(root / "imagesTr" / f"case_{index}_0000.nii.gz", volume)
        volumes.append(volume)
    return volumes


def ct_config(tmp_path: Path, **changes: object) -> DataConfig:
    return config(tmp_path, layout="nnunet", **changes)


def test_ct_is_scaled_by_the_labelled_voxels_of_the_training_cases(tmp_path: Path) -> None:
    """As nnU-Net does; the metal of a case that is not trained on changes nothing."""
    volumes = write_ct(tmp_path / "raw")
    store = preprocess(ct_config(tmp_path))
    assert store.normalize == ("ct",)
    (scale,) = training_scales(store.path, store.normalize, ["case_0", "case_1"])
    label = np.zeros(SHAPE, bool)
    label[3:6, 4:7, 2:5] = True  # of tests.nifti_files.volumes
    labelled = np.concatenate([volume[label] for volume in volumes[:2]]).astype(np.float64)
    assert scale is not None
    low, high = np.percentile(labelled, (0.5, 99.5))
    found = (scale.low, scale.high, scale.mean, scale.sd)
    np.testing.assert_allclose(found, (low, high, labelled.mean(), labelled.std()))
    image = store.image("case_0")[..., 0].astype(np.float32)
    expected = volumes[0][::-1, ::-1].astype(np.float32)  # the files run left and back
    np.testing.assert_allclose(image, expected)  # no air is lost, and 0 HU is a value
    read = scaled(store.image("case_0"), (scale,))[..., 0].astype(np.float32)
    np.testing.assert_allclose(
        read, (np.clip(expected, low, high) - scale.mean) / scale.sd, atol=5e-3
    )


def test_a_store_serves_all_folds(tmp_path: Path) -> None:
    """Its files do not depend on which cases are trained on."""
    write_ct(tmp_path / "raw")
    first = preprocess(ct_config(tmp_path, split_seed=0))
    assert preprocess(ct_config(tmp_path, split_seed=1)).path == first.path


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("CT", "ct"),
        ("contrast-enhanced CT", "ct"),
        ("CBCT", "ct"),
        ("T1gd", "zscore"),
        ("FLAIR", "zscore"),
        ("contact", "ct"),  # by its values, not by its name
        ("noNorm", "none"),
    ],
)
def test_auto_goes_by_the_name_else_by_the_values(tmp_path: Path, name: str, method: str) -> None:
    """A name that says nothing is decided by air below 0 in whole numbers."""
    write_ct(tmp_path / "raw", 1, name)
    data = ct_config(tmp_path)
    assert with_methods(data, read_dataset(data)).normalize == [method]


def test_values_that_are_no_hounsfield_units(tmp_path: Path) -> None:
    """An MR scan under a name that says nothing gets z-scores."""
    write_nnunet(tmp_path / "raw", 1, channel_names={"0": "image", "1": "other"})
    data = ct_config(tmp_path)
    assert with_methods(data, read_dataset(data)).normalize == ["zscore", "zscore"]


def test_stores_of_z_scores_keep_their_key(tmp_path: Path) -> None:
    """What earlier versions have built is used."""
    write_nnunet(tmp_path / "raw", channel_names={"0": "T1", "1": "T2"})
    stores = [preprocess(ct_config(tmp_path, normalize=n)) for n in ("auto", "zscore")]
    assert stores[0].path == stores[1].path and stores[0].normalize == ()


def test_percentile_and_none(tmp_path: Path) -> None:
    """Each case's own percentiles become 0 and 1; none keeps the file's values."""
    volumes = write_ct(tmp_path / "raw", 1)
    by_share = preprocess(ct_config(tmp_path, normalize=["percentile"])).image("case_0")
    assert by_share.min() == 0 and by_share.max() == 1
    plain = preprocess(ct_config(tmp_path, normalize="none")).image("case_0")[..., 0]
    np.testing.assert_array_equal(plain, volumes[0][::-1, ::-1].astype(np.float16))


def test_wrong_settings_are_one_clear_error(tmp_path: Path) -> None:
    """A list of another length, and values that 16 bits do not hold."""
    write_ct(tmp_path / "raw", 1)
    with pytest.raises(ConfigError, match="names 2 methods; the data set has 1 sequences: CT"):
        preprocess(ct_config(tmp_path, normalize=["ct", "zscore"]))
    volume = np.full(SHAPE, 70_000, np.int32)
    save(tmp_path / "raw" / "imagesTr" / "case_0_0000.nii.gz", volume + np.arange(10, dtype="i4"))
    with pytest.raises(DataError, match="do not fit in 16 bits; choose another data.normalize"):
        preprocess(ct_config(tmp_path, normalize="none"))


def test_without_labels_there_is_no_scale(tmp_path: Path) -> None:
    """An error that names the way out, not a division by 0."""
    write_ct(tmp_path / "raw", 2)
    save(tmp_path / "raw" / "labelsTr" / "case_0.nii.gz", np.zeros(SHAPE, np.uint8))
    store = preprocess(ct_config(tmp_path))
    with pytest.raises(DataError, match="no training case has a labelled voxel"):
        training_scales(store.path, store.normalize, ["case_0"])


def test_other_sequences_stay_as_they_are_stored() -> None:
    """Beside CT; and without any scale nothing is copied."""
    image = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float16)
    assert scaled(image, ()) is image
    result = scaled(image, (None, ChannelScale(-0.5, 0.5, 0.0, 0.5)))
    np.testing.assert_array_equal(result[..., 0], image[..., 0])
    assert result.dtype == np.float16 and float(result[..., 1].max()) == 1.0
