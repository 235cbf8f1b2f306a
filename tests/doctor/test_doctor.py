"""`unet3d doctor` on a small data set of real files."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.nifti_files import write_dataset
from unet3d import machine
from unet3d.cli import main
from unet3d.config.compose import compose_config


def doctor(capsys: pytest.CaptureFixture[str], *overrides: str) -> dict[str, str]:
    """The rows that are printed, by their first word or words."""
    main(["doctor", *overrides])
    lines = capsys.readouterr().out.splitlines()
    return {line[:16].strip(): line[17:] for line in lines if line[16:17] == " "}


def test_doctor_from_no_store_to_settings_that_can_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the command that builds the store; then table, picture and a valid suggestion."""
    write_dataset(tmp_path / "raw", cases=3)
    base = ["data=msd", f"data.root={tmp_path / 'raw'}", f"output_dir={tmp_path}", "tracking=none"]
    base += ["model.filters=2", "data.patch=auto", "data.regions={any:[1,2]}"]
    before = doctor(capsys, *base)
    assert not (tmp_path / "stores").exists()
    assert "chosen once the store is built" in before["memory to train"]
    command = shlex.split(before["store"].partition("this builds it: ")[2])
    assert command[0] == "unet3d" and command[2:] == base
    main(command[1:])
    shown = doctor(capsys, *base)
    with Image.open(shown["picture"]) as picture:
        assert picture.format == "PNG" and min(picture.size) > 500
    assert "8x16x8 voxels for a median volume of 7x9x7" in shown["data.patch=auto"]
    suggested = compose_config([*base, *shlex.split(shown["suggestion"])])
    assert suggested.data.patch == [8, 16, 8] and suggested.batch_size == 2
    tiny = doctor(capsys, *base, "data.patch=null", "data.patch_memory=1e-6")
    assert tiny["suggestion"].startswith("none: data.patch: auto finds none: even [8, 8, 8] takes")


@pytest.mark.parametrize(("flags", "slow"), [("sse2 avx2 fma", True), ("sse2 avx512f", False)])
def test_a_cpu_on_which_bfloat16_is_slow_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    slow: bool,
) -> None:
    """Before a training takes ten times as long for mixed_bfloat16."""
    (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    write_dataset(tmp_path / "raw", cases=2)
    rows = doctor(
        capsys,
        "data=msd",
        f"data.root={tmp_path / 'raw'}",
        f"output_dir={tmp_path}",
        "model.filters=2",
    )
    assert ("mixed_bfloat16 is slow here" in rows["CPU cores"]) is slow
