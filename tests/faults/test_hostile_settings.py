"""Settings and settings' files that cannot be: one line each, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unet3d.cli import main
from unet3d.config.compose import compose_config, from_overrides, stored_config
from unet3d.config.schema import Config, ExportConfig, PredictConfig, as_dict
from unet3d.errors import ConfigError, RunError
from unet3d.inference.network import read_description


@pytest.fixture(scope="module")
def stored() -> str:
    """The config.yaml of a run."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(as_dict(compose_config(["lr=0.5"]))))


@pytest.mark.parametrize("kept", [0, 1, 40, 400, 900, 1500, 2000, 2600])
def test_a_cut_config_is_no_other_run(tmp_path: Path, stored: str, kept: int) -> None:
    """Wherever config.yaml ends too early, defaults do not take the place of what is gone."""
    path = tmp_path / "config.yaml"
    text = stored[: min(kept, stored.index("\nepochs:") + 3)]
    path.write_text(text)
    with pytest.raises(RunError) as caught:
        stored_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "put back a copy" in str(caught.value)


def test_a_config_of_an_earlier_version_is_whole(tmp_path: Path, stored: str) -> None:
    """Settings that came later, and those after output_dir, may be missing."""
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(x for x in stored.split("\n") if "repeat_batch" not in x))
    assert stored_config(path).lr == 0.5
    path.write_text(stored[: stored.index("threads:")])
    assert stored_config(path).lr == 0.5


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\0", b"[1, 2]", b"a: b: c", b"data: 1\n", b"x", b"null", b"{"]
)
def test_a_damaged_config_is_one_line(tmp_path: Path, content: bytes) -> None:
    """The file and what to do, for whatever is found in it."""
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        stored_config(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(RunError, match="cannot be read"):
        stored_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("value", [1, None])
def test_a_setting_of_the_wrong_kind_in_a_config_is_one_line(
    tmp_path: Path, stored: str, value: object
) -> None:
    """Each group and setting replaced by something else: an error, or the same type."""
    from omegaconf import OmegaConf

    whole = OmegaConf.to_container(OmegaConf.create(stored))
    assert isinstance(whole, dict)
    path = tmp_path / "config.yaml"
    for key in whole:
        path.write_text(json.dumps({**whole, key: value}))
        try:
            assert isinstance(stored_config(path), Config)
        except RunError as error:
            assert str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"labels": {"a": 1}}', '{"labels": {"1": "a"}}'])
def test_a_damaged_description_of_a_run_is_one_line(tmp_path: Path, text: str) -> None:
    """dataset.json in a run's folder says what its network takes."""
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(RunError, match="dataset.json: is damaged"):
        read_description(path)


@pytest.mark.parametrize("run", ["../../x", "/etc", "a/b", "", "..", "a\\b", ".hidden"])
def test_a_run_is_no_path(run: str) -> None:
    """`run=` and `resume=` take ids only, in each command."""
    for schema, key in ((PredictConfig, "run"), (ExportConfig, "run")):
        with pytest.raises(ConfigError, match=f"^{key}: .* is not possible; it must be the id"):
            from_overrides(
                schema, [f"{key}={run}", "output=x", "input=y"][: 2 + (schema is PredictConfig)]
            )
    with pytest.raises(ConfigError, match="^resume: .* is not possible; it must be the id"):
        compose_config([f"resume={run}"] if run else ["resume=''"])


@pytest.mark.parametrize("name", ["../x", "a/b", "a:b", ""])
def test_a_registered_model_has_a_name(name: str) -> None:
    """MLflow would refuse it only after the export."""
    with pytest.raises(ConfigError, match="register: .* it must be a name"):
        from_overrides(ExportConfig, ["run=x", "output=y", f"register={name}"])


@pytest.mark.parametrize(
    "override",
    [
        f"seed={2**63}",
        f"data.split_seed={10**30}",
        "data.split_seed=-1",
        "data.phantom.seed=-1",
        f"batch_size={10**9}",
        f"batch_size={10**30}",
        f"epochs={10**20}",
        f"data.phantom.cases={10**12}",
        "data.phantom.shape=[100000,100000,100000]",
        "data.spacing=[1e-9,1,1]",
        "data.spacing=[1,1,1e30]",
        "tracking.port=0",
        "tracking.port=65536",
        f"val_every={10**400}",
    ],
)
def test_a_huge_number_is_one_line(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Key and limit at once, with exit code 2, where memory or a type would burst later."""
    with pytest.raises(SystemExit) as ended:
        main(["preprocess", override])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert error.startswith(f"error: {override.partition('=')[0]}")


def test_too_little_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What no rule foresaw ends in exit code 2 as well."""

    def allocate(_: object) -> None:
        raise MemoryError("Unable to allocate 12.5 TiB")

    monkeypatch.setattr("unet3d.datasets.download.download", allocate)
    with pytest.raises(SystemExit) as ended:
        main(["download"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: not enough memory (Unable to allocate 12.5")
