from __future__ import annotations

import json
import logging
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests import REPOSITORY
from tests.nifti_files import LPS, REAL, config, save, volumes, write_dataset
from unet3d.config.schema import PhantomConfig
from unet3d.errors import DataError
from unet3d.preprocessing.geometry import restore
from unet3d.preprocessing.preprocess import preprocess
from unet3d.preprocessing.store import open_store


@pytest.mark.parametrize(("channels", "suffix"), [(2, ".nii.gz"), (1, ".nii.gz"), (1, ".nii")])
def test_voxels_equal_a_plain_recipe(tmp_path, channels, suffix):
    """Orientation, crop and z-score give what nibabel and numpy give, one step at a time."""
    write_dataset(tmp_path / "raw", cases=1, channels=channels, suffix=suffix)
    store = preprocess(config(tmp_path))
    image, label = volumes(0, channels)
    image = image.reshape(*image.shape[:3], channels)[::-1, ::-1][3:10, 2:11, 1:8].astype(float)
    mask = image != 0
    for channel in range(channels):
        inside = image[mask[..., channel], channel]
        image[..., channel] = (image[..., channel] - inside.mean()) / inside.std()
    np.testing.assert_allclose(store.image("case_0"), image * mask, atol=2e-3)
    np.testing.assert_array_equal(store.label("case_0"), label[::-1, ::-1][3:10, 2:11, 1:8])
    case = store.cases["case_0"]
    assert case.shape == (7, 9, 7) and case.spacing == (1, 1, 2) and case.labels == (1, 2)


@pytest.mark.parametrize("spacing", [None, [1.0, 1.0, 1.0]])
@pytest.mark.parametrize("codes", ["LPS", "SRA", "PIR"])
def test_a_segmentation_maps_back_to_the_file(tmp_path, codes, spacing):
    """Restoring the stored label gives the file's label, whatever its axes and the spacing."""
    root = write_dataset(tmp_path / "raw", cases=1)
    turn = nibabel.orientations.axcodes2ornt(codes)
    image, label = volumes(0)
    affine = np.zeros((4, 4))
    affine[turn[:, 0].astype(int), range(3)] = turn[:, 1] * [1, 1, 2]
    affine[3, 3] = 1
    save(root / "imagesTr" / "case_0.nii.gz", image, affine)
    save(root / "labelsTr" / "case_0.nii.gz", label, affine)
    store = preprocess(config(tmp_path, spacing=spacing))
    geometry = store.geometry("case_0")
    assert nibabel.aff2axcodes(np.array(geometry["stored_affine"])) == ("R", "A", "S")
    if spacing:
        assert store.cases["case_0"].spacing == pytest.approx((1, 1, 1))
    np.testing.assert_array_equal(restore(store.label("case_0"), geometry), label)


def test_bfloat16_and_constant_channel(tmp_path):
    """The other stored type reads back as itself; a constant channel becomes 0, not NaN."""
    root = write_dataset(tmp_path / "raw", cases=1)
    image, _ = volumes(0)
    image[..., 1] = np.where(image[..., 1] > 0, 7, 0)
    save(root / "imagesTr" / "case_0.nii.gz", image)
    stored = preprocess(config(tmp_path, dtype="bfloat16")).image("case_0")
    assert stored.dtype.name == "bfloat16"
    assert stored[..., 0].astype(np.float32).std() > 0.5 and not stored[..., 1].any()


def _break(root: Path) -> dict[str, str]:
    """Make each case but the last bad in its own way; returns what its reason must say."""
    image, label = volumes(0)
    images, labels = root / "imagesTr", root / "labelsTr"
    whole = (images / "case_0.nii.gz").read_bytes()
    (images / "case_0.nii.gz").write_bytes(whole[: len(whole) // 2])
    save(labels / "case_1.nii.gz", label[:-1])
    save(labels / "case_2.nii.gz", label, LPS + np.eye(4) * 0.5)
    save(images / "case_3.nii.gz", np.where(image == image.max(), np.nan, image).astype("f4"))
    (images / "case_4.nii.gz").write_bytes(b"")
    save(labels / "case_5.nii.gz", label + np.uint8(5) * (label == 2))
    save(labels / "case_6.nii.gz", label * np.float32(0.5))
    (labels / "case_7.nii.gz").unlink()
    (images / "case_8.nii.gz").write_bytes(b"not a volume, but long enough to be one")
    (images / "case_9.nii.gz").unlink()
    (images / "case_9.nii.gz").symlink_to(root.parent / "outside.nii.gz")
    save(images / "case_10.nii.gz", image[..., :1])
    return {
        "case_0": "truncated or damaged",
        "case_1": "shape (11, 14, 10) differs from",
        "case_2": "affine differs",
        "case_3": "voxels are NaN or infinite",
        "case_4": "an empty file (0 bytes)",
        "case_5": "label value 7 is not in dataset.json",
        "case_6": "0.5 is not a whole number",
        "case_7": "No such file",
        "case_8": "unreadable header",
        "case_9": "outside.nii.gz, which does not exist",
        "case_10": "holds 1 channels",
    }


def test_all_bad_cases_are_told_together_then_skipped(tmp_path, caplog):
    """One error names every bad file and its reason; `skip` records them and goes on."""
    reasons = _break(write_dataset(tmp_path / "raw", cases=12))
    with pytest.raises(DataError) as caught:
        preprocess(config(tmp_path))
    message = str(caught.value)
    for case, reason in reasons.items():
        line = next(line for line in message.splitlines() if line.startswith(f"  {case}:"))
        assert reason in line and f"{case}.nii.gz" in line
    built = next((tmp_path / "stores").glob("*/cases/case_11/case.json"))
    before = built.stat().st_mtime_ns
    store = preprocess(config(tmp_path, on_bad_case="skip"))
    assert built.stat().st_mtime_ns == before, "the good case was built again"
    assert list(store.cases) == ["case_11"] and set(store.skipped) == set(reasons)
    assert open_store(store.path).skipped == store.skipped
    with pytest.raises(DataError, match="11 of 12"):  # a store with gaps is no answer to `fail`
        preprocess(config(tmp_path))


@pytest.mark.parametrize("path", ["../outside.nii.gz", "/etc/outside.nii.gz"])
def test_paths_may_not_leave_the_folder(tmp_path, path):
    """dataset.json cannot point at files elsewhere."""
    root = write_dataset(tmp_path / "raw", cases=1)
    description = json.loads((root / "dataset.json").read_text())
    description["training"][0]["label"] = path
    (root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DataError, match="outside the data set's folder"):
        preprocess(config(tmp_path))


def test_a_store_is_found_again_also_for_a_copied_data_set(tmp_path, caplog):
    """The same inputs and settings reuse the store; another spacing, or input, makes a new one."""
    caplog.set_level(logging.INFO)
    write_dataset(tmp_path / "raw")
    first = preprocess(config(tmp_path))
    shutil.copytree(tmp_path / "raw", tmp_path / "moved")
    caplog.clear()
    again = preprocess(config(tmp_path, root=str(tmp_path / "moved"), patch=[32, 32, 32]))
    assert again == first and [r for r in caplog.messages if "using the complete store" in r]
    other = preprocess(config(tmp_path, spacing=[2.0, 2.0, 2.0]))
    assert other.key != first.key and other.digest == first.digest
    save(tmp_path / "raw" / "imagesTr" / "case_0.nii.gz", volumes(9)[0])
    assert preprocess(config(tmp_path)).digest != first.digest


def test_a_truncated_stored_file_is_built_again(tmp_path, caplog):
    """A store that lost bytes is noticed by its sizes, reported and rebuilt."""
    write_dataset(tmp_path / "raw")
    store = preprocess(config(tmp_path))
    expected = store.image("case_1")
    path = store.path / "cases" / "case_1" / "image.b2nd"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-50])
    with pytest.raises(DataError, match="image.b2nd"):
        open_store(store.path)
    np.testing.assert_array_equal(preprocess(config(tmp_path)).image("case_1"), expected)
    assert "building the case again" in caplog.text


BUILD = """
import sys
from unet3d.config.schema import DataConfig
from unet3d.preprocessing import preprocess as module
if sys.argv[3] == "stop":
    real, built = module.publish, []
    def publish(folder, target):
        if built:
            print("half", flush=True)
            sys.stdin.read()
        built.append(target)
        return real(folder, target)
    module.publish = publish
data = DataConfig(name="tiny", root=sys.argv[1], store=sys.argv[2], workers=1)
print(len(module.preprocess(data).cases))
"""


def _start(tmp_path: Path, how: str) -> subprocess.Popen:
    arguments = [sys.executable, "-c", BUILD, str(tmp_path / "raw"), str(tmp_path / "stores"), how]
    return subprocess.Popen(
        arguments, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_killed_build_goes_on_where_it_stopped(tmp_path):
    """After kill -9 the finished case is kept, the half one is cleared away, the rest is built."""
    write_dataset(tmp_path / "raw", cases=4)
    process = _start(tmp_path, "stop")
    assert process.stdout.readline().strip() == "half"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (cases,) = (tmp_path / "stores").glob("*/cases")
    (kept,) = cases.glob("case_*")
    assert list(cases.glob(".*.tmp-*")) and not (cases.parent / "store.json").exists()
    before = (kept / "case.json").stat().st_mtime_ns
    time.sleep(0.01)
    store = preprocess(config(tmp_path))
    assert len(store.cases) == 4 and (kept / "case.json").stat().st_mtime_ns == before
    assert not list(cases.glob(".*"))


def test_two_processes_build_at_once(tmp_path):
    """Both succeed, with one complete store and nothing left over."""
    write_dataset(tmp_path / "raw", cases=6)
    processes = [_start(tmp_path, "go") for _ in range(2)]
    assert [process.communicate()[0].strip() for process in processes] == ["6", "6"]
    (store,) = (tmp_path / "stores").iterdir()
    assert len(open_store(store).cases) == 6 and not list((store / "cases").glob(".*"))


def test_phantoms_are_written_when_the_root_is_empty(tmp_path):
    """`data=phantom` needs no files: it writes them, then takes the path of any data set."""
    phantom = PhantomConfig(cases=2, shape=[24, 28, 20])
    store = preprocess(config(tmp_path, phantom=phantom))
    assert store.channels == ("FLAIR", "T1w", "T1gd", "T2w") and len(store.cases) == 2
    label = nibabel.load(tmp_path / "raw" / "labelsTr" / "PHANTOM_001.nii.gz")
    back = restore(store.label("PHANTOM_001"), store.geometry("PHANTOM_001"))
    np.testing.assert_array_equal(back, np.asanyarray(label.dataobj))


@pytest.mark.skipif(not REAL.is_dir(), reason="the real cases, ../shared/data, are not here")
def test_a_real_case(tmp_path):
    """A real case, whose background is not 0, is cropped, standardised and mapped back."""
    description = json.loads((REAL / "dataset.json").read_text())
    description["training"] = description["training"][:1]
    for key in ("image", "label"):
        name = description["training"][0][key]
        (tmp_path / "raw" / name).parent.mkdir(parents=True)
        shutil.copy(REAL / name, tmp_path / "raw" / name)
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(description))
    store = preprocess(config(tmp_path))
    ((case_id, case),) = store.cases.items()
    assert np.prod(case.shape) < 0.5 * 240 * 240 * 155
    flair = store.image(case_id)[..., 0].astype(np.float32)
    assert abs(flair[flair != 0].mean()) < 0.01 and abs(flair[flair != 0].std() - 1) < 0.01
    label = nibabel.load(REAL / description["training"][0]["label"])
    back = restore(store.label(case_id), store.geometry(case_id))
    np.testing.assert_array_equal(back, np.asanyarray(label.dataobj))
