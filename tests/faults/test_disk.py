"""A full disk and a read-only folder: one line with the folder, nothing half-written, then on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import blosc2
import h5py
import numpy as np
import pytest

from tests import REPOSITORY
from tests.faults.mounts import fill, remount, small_disk
from tests.small import small_config
from unet3d.cli import main
from unet3d.cli.programs import train
from unet3d.cli.user_errors import guarded
from unet3d.disk import disk_errors_name, disk_problem
from unet3d.files import write_text


def line_of(call, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr that the call ends with, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        guarded(call)
    assert ended.value.code == 2
    (line,) = [row for row in capsys.readouterr().err.splitlines() if "error" in row.lower()]
    return line


def test_each_way_to_write_on_a_full_disk_names_it(tmp_path: Path) -> None:
    """NumPy, HDF5 and Blosc have words and kinds of errors of their own."""
    values = np.random.default_rng(0).random((64, 64, 64), np.float32)

    def hdf5(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["x"] = values

    with small_disk(tmp_path / "disk", "256k") as disk:
        for write in (
            lambda path: values.tofile(path),
            lambda path: np.save(path, values),
            hdf5,
            lambda path: blosc2.asarray(values, urlpath=str(path), mode="w"),
            lambda path: path.write_bytes(values.tobytes()),
        ):
            with pytest.raises(Exception) as caught, disk_errors_name(disk):
                write(disk / "file")
            assert disk_problem(caught.value) == (
                f"{disk}: no space is left on its disk; free some, then type the same command again"
            )
            (disk / "file").unlink(missing_ok=True)


def test_a_text_is_whole_or_not_there(tmp_path: Path) -> None:
    """The former one stays; no temporary file does."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        write_text(disk / "a", "before")
        with pytest.raises(OSError) as caught:
            write_text(disk / "a", "x" * 100_000)
        assert "no space is left" in (disk_problem(caught.value) or "")
        assert [path.name for path in disk.iterdir()] == ["a"]
        assert (disk / "a").read_text() == "before"


@pytest.mark.parametrize("tracking", ["none", "mlflow"])
def test_an_output_folder_that_cannot_be_written(
    tmp_path: Path, tracking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named at the start, and not the tracking store in it; full as well as read-only."""
    with small_disk(tmp_path / "disk") as disk:
        config = small_config(disk / "outputs", f"tracking={tracking}", f"data.root={tmp_path}/raw")
        filler = fill(disk)
        line = line_of(lambda: train(config, []), capsys)
        assert line.startswith(f"error: output_dir: {disk}/outputs cannot be written: no space is")
        filler.unlink()
        remount(disk, "ro")
        line = line_of(lambda: train(config, []), capsys)
        assert line.startswith(f"error: output_dir: {disk}/outputs cannot be written: its disk is")


def test_a_store_on_a_full_disk_and_then_on_a_larger_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole cases stay, nothing else does; the same command builds what is missing."""
    with small_disk(tmp_path / "disk", "1500k") as disk:
        phantoms = ("data=phantom", "data.phantom.cases=4", "data.phantom.shape=[64,64,64]")
        command = ["preprocess", *phantoms, f"data.root={tmp_path}/raw", f"data.store={disk}"]
        main([*command, f"data.store={tmp_path}/stores"])  # writes the phantoms
        capsys.readouterr()
        line = line_of(lambda: main(command), capsys)
        assert str(disk) in line and "no space is left on its disk; free some" in line
        assert not list(disk.rglob(".*tmp-*"))
        remount(disk, "size=64m")
        main(command)
        assert "4 cases in" in capsys.readouterr().out
    with small_disk(tmp_path / "second") as disk:
        remount(disk, "ro")
        line = line_of(lambda: main([*command, f"data.store={disk}/stores"]), capsys)
        assert f"{disk}/stores" in line and "read-only; choose another folder" in line


def test_a_sweep_in_a_read_only_folder(tmp_path: Path) -> None:
    """One line before anything else starts."""
    with small_disk(tmp_path / "disk") as disk:
        remount(disk, "ro")
        command = [sys.executable, str(REPOSITORY / "sweep.py"), "-m", "experiment=smoke"]
        done = subprocess.run(
            [*command, "lr=1e-2,1e-3", f"output_dir={disk}/outputs"],
            cwd=disk,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert f"{disk}/outputs: its disk is read-only; choose another folder" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
