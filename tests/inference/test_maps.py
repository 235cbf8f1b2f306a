"""Maps of probability and of uncertainty: their values, and how they lie in the scan's file."""

from __future__ import annotations

import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest

from unet3d.config.schema import DataConfig
from unet3d.inference.maps import ProbabilityMaps, UncertaintyMaps, entropy, probabilities
from unet3d.inference.scan import PreparedScan, Scan, prepare_scan, write_shares
from unet3d.preprocessing.geometry import orient, stored_labels
from unet3d.sampling.targets import Targets, make_targets


def targets(target: str = "regions") -> Targets:
    return make_targets(DataConfig(name="x", root="x", target=target), {1: "edema", 2: "core"})


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Scan, PreparedScan]:
    """One that is turned, and of which the first slices are empty."""
    voxels = np.random.default_rng(0).uniform(1, 2, (6, 8, 10)).astype(np.float32)
    voxels[:, :, :3] = 0
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    found = Scan("scan", (path,))
    settings = DataConfig(name="x", root="x", normalize=["zscore"])
    return found, prepare_scan(found, settings, ("T1",))


def read(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]


def test_probabilities_of_regions_and_of_classes() -> None:
    """A sigmoid each, or one softmax; large logits neither overflow nor warn."""
    logits = np.array([[0, np.log(3)], [-200, 200]], np.float32)
    np.testing.assert_allclose(probabilities(logits, False), [[0.5, 0.75], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(probabilities(logits, True), [[0.25, 0.75], [0, 1]], atol=1e-6)


def test_entropy_is_a_share_of_its_largest() -> None:
    """1 where nothing is known, 0 where all is; of regions the mean."""
    assert entropy(np.full(3, 1 / 3), True) == pytest.approx(1)
    assert entropy(np.array([0.0, 1.0, 0.0]), True) == 0
    assert entropy(np.array([0.5, 1.0]), False) == pytest.approx(0.5)


@pytest.mark.parametrize("target", ["regions", "classes"])
def test_mutual_information_is_what_members_disagree_about(
    scan: tuple[Scan, PreparedScan], target: str
) -> None:
    """None where they agree, however unsure they are; all where each is sure of something else."""
    outputs = len(targets(target).names)
    maps = UncertaintyMaps(scan[1], targets(target), 2)
    shape = (*scan[1].image.shape[1:3], outputs)
    unsure = np.zeros(shape, np.float32)
    one, other = unsure.copy(), unsure.copy()
    one[..., 0], other[..., 0] = 50, -50
    if target == "classes":
        other[..., 1] = 50
        other[..., 2:] = one[..., 1:] = -50
    maps(0, unsure, [unsure, unsure])
    maps(1, unsure, [one, other])
    assert maps.values["entropy"][0] == pytest.approx(1, abs=1e-3)
    assert maps.values["mutual_information"][0] == pytest.approx(0, abs=1e-3)
    expected = np.log(2) / np.log(3) if target == "classes" else 1 / outputs
    assert maps.values["mutual_information"][1] == pytest.approx(expected, abs=1e-3)


def test_one_network_disagrees_with_none(scan: tuple[Scan, PreparedScan]) -> None:
    """Its entropy is all that there is."""
    assert list(UncertaintyMaps(scan[1], targets(), 1).values) == ["entropy"]


def test_maps_lie_on_the_scan(tmp_path: Path, scan: tuple[Scan, PreparedScan]) -> None:
    """Turned back, with background beyond the crop, in 16 bits and with the scan's affine."""
    found, prepared = scan
    maps = ProbabilityMaps(prepared, targets("classes"))
    logits = np.random.default_rng(1).normal(size=maps.values.shape).astype(np.float32)
    for x, plane in enumerate(logits):
        maps(x, plane, [plane])
    maps.write(tmp_path / "probabilities", "scan", found)
    written = nibabel.load(tmp_path / "probabilities" / "edema" / "scan.nii.gz")
    np.testing.assert_array_equal(written.affine, nibabel.load(found.files[0]).affine)  # type: ignore[attr-defined]
    assert written.get_data_dtype() == np.uint16  # type: ignore[attr-defined]
    edema = read(tmp_path / "probabilities" / "edema" / "scan.nii.gz")
    background = read(tmp_path / "probabilities" / "background" / "scan.nii.gz")
    assert (edema[:, :, :3] == 0).all() and (background[:, :, :3] == 1).all()
    geometry = prepared.geometry
    turned = orient(edema, geometry.axes, geometry.flips)
    inside = turned[tuple(slice(*part) for part in geometry.box)]
    expected = probabilities(logits, True)[..., 1]
    np.testing.assert_allclose(inside, expected, atol=5e-4)


def test_probabilities_as_nnunet_writes_them(
    tmp_path: Path, scan: tuple[Scan, PreparedScan]
) -> None:
    """One .npz: float16 (outputs, z, y, x), equal to the maps in NIfTI, with names and geometry."""
    found, prepared = scan
    for npz in (False, True):
        maps = ProbabilityMaps(prepared, targets("classes"), npz)
        logits = np.random.default_rng(1).normal(size=maps.values.shape).astype(np.float32)
        for x, plane in enumerate(logits):
            maps(x, plane, [plane])
        maps.write(tmp_path, "scan", found)
    with np.load(tmp_path / "scan.npz") as read_back:
        shares, names = read_back["probabilities"], read_back["outputs"].tolist()
        affine, spacing = read_back["affine"], read_back["spacing"]
    assert shares.dtype == np.float16 and shares.shape == (3, 10, 8, 6)
    assert names == ["background", "edema", "core"]
    for share, name in zip(shares, names, strict=True):
        np.testing.assert_allclose(share.T, read(tmp_path / name / "scan.nii.gz"), atol=5e-4)
    np.testing.assert_allclose(affine, nibabel.load(found.files[0]).affine)  # type: ignore[attr-defined]
    np.testing.assert_allclose(spacing, (3.0, 2.0, 1.5))  # along z, y, x
    assert {path.name for path in tmp_path.glob("*.npz")} == {"scan.npz"}
    assert (tmp_path / "scan.pkl").is_file()


def test_labels_that_do_not_overlap_have_a_background(
    tmp_path: Path, scan: tuple[Scan, PreparedScan]
) -> None:
    """nnU-Net takes the largest value, which is then what thresholds of 0.5 decide; not regions."""
    found, prepared = scan
    maps = ProbabilityMaps(prepared, targets(), npz=True)
    maps.values[:] = np.random.default_rng(1).uniform(size=maps.values.shape)
    maps.write(tmp_path, "scan", found)
    with np.load(tmp_path / "scan.npz") as read_back:
        shares, names = read_back["probabilities"], read_back["outputs"].tolist()
    assert names == ["background", "edema", "core"] and shares.shape == (3, 10, 8, 6)
    decided = np.where(shares[1:].max(axis=0) > 0.5, 1 + shares[1:].argmax(axis=0), 0)
    np.testing.assert_array_equal(shares.argmax(axis=0), decided)
    assert 0 < (decided == 0).mean() < 1

    overlapping = DataConfig(name="x", root="x", regions={"whole": [1, 2], "core": [2]})
    regions = make_targets(overlapping, {1: "edema", 2: "core"})
    ProbabilityMaps(prepared, regions, npz=True).write(tmp_path, "scan", found)
    with np.load(tmp_path / "scan.npz") as read_back:
        assert read_back["outputs"].tolist() == ["whole", "core"]


def test_what_nnunets_ensembling_reads_beside_them(
    tmp_path: Path, scan: tuple[Scan, PreparedScan]
) -> None:
    """Its SimpleITKIO and NibabelIO write a segmentation on the grid of the scan from the .pkl."""
    import SimpleITK

    found, prepared = scan
    ProbabilityMaps(prepared, targets("classes"), npz=True).write(tmp_path, "scan", found)
    properties = pickle.loads((tmp_path / "scan.pkl").read_bytes())
    assert properties["spacing"] == [3.0, 2.0, 1.5]
    assert properties["shape_before_cropping"] == (10, 8, 6)
    assert properties["bbox_used_for_cropping"] == [[3, 10], [0, 8], [0, 6]]  # empty slices are off
    assert properties["shape_after_cropping_and_before_resampling"] == (7, 8, 6)
    expected = SimpleITK.ReadImage(str(found.files[0]))
    stuff = properties["sitk_stuff"]
    np.testing.assert_allclose(stuff["spacing"], expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(stuff["origin"], expected.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(stuff["direction"], expected.GetDirection(), atol=1e-6)
    affine = nibabel.load(found.files[0]).affine  # type: ignore[attr-defined]
    np.testing.assert_allclose(properties["nibabel_stuff"]["original_affine"], affine)
    assert "reoriented_affine" not in properties["nibabel_stuff"]  # this scan is turned


def test_shares_are_exact_to_half_a_step(tmp_path: Path, scan: tuple[Scan, PreparedScan]) -> None:
    """Finer than float16 is near 1; what is beyond [0, 1] is cut."""
    values = np.linspace(-0.1, 1.1, 6 * 8 * 10).reshape(6, 8, 10)
    write_shares(tmp_path / "x.nii.gz", values, scan[0].files[0])
    np.testing.assert_allclose(read(tmp_path / "x.nii.gz"), values.clip(0, 1), atol=1 / 65000)


def test_labels_follow_their_scan(scan: tuple[Scan, PreparedScan]) -> None:
    """A voxel's label is at its place on the network's grid, also after resampling."""
    found, prepared = scan
    label = (read(found.files[0]) > 1.5).astype(np.uint8)
    stored = stored_labels(label, prepared.geometry.as_dict(), prepared.image.shape[:3])
    image = prepared.image[..., 0].astype(np.float32)
    assert image[stored == 1].min() >= image[stored == 0].max()
    settings = DataConfig(name="x", root="x", normalize=["zscore"], spacing=[3.0, 4.0, 6.0])
    coarse = prepare_scan(found, settings, ("T1",))
    shape = coarse.image.shape[:3]
    assert stored_labels(label * 0 + 1, coarse.geometry.as_dict(), shape).tolist() == (
        np.ones(shape, int).tolist()
    )
