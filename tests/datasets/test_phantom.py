from __future__ import annotations

import threading

import nibabel
import numpy as np
import pytest

from unet3d.config.schema import PhantomConfig
from unet3d.datasets.phantom import ensure_phantoms, write_phantoms
from unet3d.datasets.phantom_anatomy import make_phantom
from unet3d.errors import DataError

SMALL = PhantomConfig(cases=2, shape=[32, 36, 28], spacing=[5.0, 5.0, 6.0])


@pytest.mark.parametrize("index", range(3))
def test_the_anatomy(index):
    """Three nested parts inside a brain with a zero background; the tumour is 1 to 6% of it."""
    image, label = make_phantom(SMALL, index)
    assert image.shape == (32, 36, 28, 4) and image.dtype == np.int16
    assert set(np.unique(label)) == {0, 1, 2, 3}
    brain = image[..., 0] > 0
    assert brain[label > 0].all() and not brain[0].any()
    assert 0.01 < (label > 0).sum() / brain.sum() < 0.06
    assert image[label == 1, 0].mean() > image[brain & (label == 0), 0].mean()  # FLAIR
    assert image[label == 3, 2].mean() > image[label == 2, 2].mean()  # contrast agent


def test_same_settings_same_voxels():
    """A phantom follows from its settings and its index alone."""
    np.testing.assert_array_equal(make_phantom(SMALL, 1)[0], make_phantom(SMALL, 1)[0])
    assert (make_phantom(SMALL, 1)[1] != make_phantom(SMALL, 0)[1]).any()


def test_files_are_real_and_not_in_canonical_orientation(tmp_path):
    """nibabel reads them back, with the spacing asked for and axes that must be turned."""
    write_phantoms(tmp_path / "data", SMALL)
    image = nibabel.load(tmp_path / "data" / "imagesTr" / "PHANTOM_001.nii.gz")
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_allclose(image.header.get_zooms()[:3], SMALL.spacing)
    expected = make_phantom(SMALL, 0)[0][::-1, ::-1]
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)
    assert not list(tmp_path.glob(".*"))


def test_other_settings_are_an_error_not_a_silent_reuse(tmp_path):
    """Phantoms of other settings are neither used nor deleted."""
    ensure_phantoms(tmp_path / "data", SMALL)
    ensure_phantoms(tmp_path / "data", SMALL)
    with pytest.raises(DataError, match="data.phantom.cases=2, not 3"):
        ensure_phantoms(tmp_path / "data", PhantomConfig(cases=3, shape=[32, 36, 28]))


def test_two_writers_at_once(tmp_path):
    """Both succeed, and one complete data set is there."""
    errors = []

    def write():
        try:
            write_phantoms(tmp_path / "data", SMALL)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(list((tmp_path / "data" / "imagesTr").iterdir())) == 2
