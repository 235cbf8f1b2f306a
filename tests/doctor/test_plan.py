"""`unet3d plan` on small data sets of real files, and its recipe taken over by data.plans."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.nifti_files import write_dataset
from unet3d.cli import main
from unet3d.config.compose import compose_config


def test_a_recipe_is_printed_written_and_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is what was printed; what is typed beside it counts; its topology fits its patch."""
    write_dataset(tmp_path / "raw", cases=3)
    base = ["data=msd", f"data.root={tmp_path / 'raw'}", f"output_dir={tmp_path}"]
    base += ["data.regions={any:[1,2]}"]
    output = tmp_path / "plans" / "recipe.yaml"
    main(["plan", *base, "model.filters=2", "data.spacing=[1,1,1]", f"output={output}"])
    text = output.read_text()
    assert text in capsys.readouterr().out
    assert "3 cases, median 7x9x14 voxels of 1x1x1 mm" in text and f"data.plans={output}" in text
    assert yaml.safe_load(text)["model"] == {
        "filters": 2,
        "depth": 1,
        "strides": [[1, 2, 2]],
        "kernels": [[3, 3, 3], [3, 3, 3]],
    }
    config = compose_config([*base, f"data.plans={output}", "epochs=3"])
    assert (config.data.patch, config.data.spacing) == ([7, 10, 14], [1.0, 1.0, 1.0])
    assert config.batch_size == 2 and config.epochs == 3 and config.loss.name == "dice_ce"
    assert config.data.normalize == ["zscore", "zscore"] and config.optimizer.name == "sgd"
    output.write_text("[1, 2]")
    with pytest.raises(SystemExit):
        main(["doctor", *base, f"data.plans={output}"])
    assert "recipe.yaml: must map settings to values" in capsys.readouterr().err


def test_a_residual_encoder_as_nnunet_plans_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patch and batch of its own count of values, of the preset that the recipe names."""
    write_dataset(tmp_path / "raw", cases=3)
    base = ["data=msd", f"data.root={tmp_path / 'raw'}", f"output_dir={tmp_path}"]
    preset, output = "experiment=nnunet_resenc_m", tmp_path / "recipe.yaml"
    own = [preset, "model.filters=2", "data.spacing=[1,1,1]", "budget=nnunet"]
    main(["plan", *base, *own, f"output={output}"])
    found = yaml.safe_load(output.read_text())
    assert found["experiment"] == "nnunet_resenc_m"
    assert found["batch_size"] == 3  # as many as three volumes have patches
    assert "here; patch and batch are nnU-Net's for a GPU of 8 GB" in capsys.readouterr().out
    config = compose_config([*base, f"data.plans={output}"])
    assert config.model.name == "resenc" and config.data.patch_memory == 8


def test_no_memory_for_any_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says how much there is, and what to type."""
    write_dataset(tmp_path / "raw", cases=3)
    base = ["data=msd", f"data.root={tmp_path / 'raw'}", f"output_dir={tmp_path}"]
    with pytest.raises(SystemExit):
        main(["plan", *base, "model.filters=2", "data.patch_memory=1e-6"])
    assert "data.patch: no patch of a volume of 7x9x7 voxels fits" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", *base, "model.filters=2"])
    assert "a volume of 7x9x7 voxels is too small to be pooled" in capsys.readouterr().err
