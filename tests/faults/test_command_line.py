"""What is typed arrives as it was typed; what is printed can be typed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests import REPOSITORY
from tests.sweep.folders import write_sweep, write_trial
from unet3d.cli import main
from unet3d.config.command_line import hydra_text, prepare_overrides, resume_command
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import EvaluateConfig, ExportConfig, PredictConfig, as_dict
from unet3d.sweep.report.results import read_results
from unet3d.sweep.sweep_folder import SweepFolder

TEXTS = (
    "2024_05_01",
    "1e3",
    "010",
    "true",
    "o/seg #1.nii.gz",
    "pat: 1.nii.gz",
    "a,b=(c){d}[e]",
    "{a",
    "???",
    "${lr}",
    "it's",
    '"quoted"',
    " a ",
    "é\\n",
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_a_command_is_what_was_typed(text: str) -> None:
    """Nothing of it is read as YAML, as a number or as a reference to another setting."""
    settings = from_overrides(PredictConfig, ["run=x", f"input={text}", f"output={text}"])
    assert (settings.input, settings.output) == (text, text)
    assert from_overrides(EvaluateConfig, [f"pred={text}"]).pred == text


def test_null_is_none_where_text_may_be_missing() -> None:
    """`truth=null` is no file of that name, unless there has to be one."""
    assert from_overrides(EvaluateConfig, ["truth=null"]).truth is None
    assert from_overrides(PredictConfig, ["run=x", "input=a", "output=null"]).output == "null"


@pytest.mark.parametrize("text", TEXTS[:6])
def test_text_of_a_training_is_what_was_typed(text: str) -> None:
    """Hydra would write output_dir=2024_05_01 to 20240501, and 1e3 to 1000.0."""
    config = compose_config([f"output_dir={text}", f"tracking.run_name={text}"])
    assert (config.output_dir, config.tracking.run_name) == (text, text)
    assert config.data.store == f"{text}/stores"


@pytest.mark.parametrize("text", [text for text in TEXTS if text != "???"])  # it means missing
def test_quoted_text_of_a_training_is_what_was_quoted(text: str) -> None:
    """What our messages offer to type arrives as that text."""
    assert compose_config([f"tracking.run_name={hydra_text(text)}"]).tracking.run_name == text


def test_only_what_hydra_would_change_is_quoted() -> None:
    """Numbers of number settings, choices and sweeps stay as they are."""
    same = ["lr=1e-3,1e-4", "model.norm=batch,group", "data=msd", "+a=1_0", "~b", "seed=010"]
    assert prepare_overrides(same) == same
    assert prepare_overrides(["data.root=2024_05,b"]) == ['data.root="2024_05",b']


def test_home_is_expanded_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """~ in any path of a training and of the commands, and in addresses of files."""
    monkeypatch.setenv("HOME", "/home/me")
    config = compose_config(
        ["output_dir=~/out", "data.root=~/a b", "data.stage_to=~/fast", "data.store='~/stores'"]
    )
    assert config.output_dir == "/home/me/out"
    assert config.data.root == "/home/me/a b"
    assert (config.data.stage_to, config.data.store) == ("/home/me/fast", "/home/me/stores")
    assert config.tracking.uri == "sqlite:////home/me/out/mlflow.db"
    assert config.tracking.artifacts == "/home/me/out/mlartifacts"
    uri = compose_config(["tracking.uri=sqlite:///~/m.db"]).tracking.uri
    assert uri == "sqlite:////home/me/m.db"
    for schema, given in (
        (PredictConfig, {"run": "x", "input": "~/a.nii", "output": "~/x.nii.gz"}),
        (ExportConfig, {"run": "x", "output": "~/x", "output_dir": "~/out"}),
        (EvaluateConfig, {"pred": "~/p", "truth": "~/t", "output": "~"}),
    ):
        settings = as_dict(from_overrides(schema, [f"{k}={v}" for k, v in given.items()]))
        assert all(settings[k] == v.replace("~", "/home/me") for k, v in given.items())
    named = from_overrides(EvaluateConfig, ["pred=a~b/~", "truth=x/~/y"])
    assert (named.pred, named.truth) == ("a~b/~", "x/~/y")


def test_a_reader_that_ends_early_is_no_error() -> None:
    """`unet3d settings | head` leaves without a traceback."""
    command = f"{shlex.quote(sys.executable)} -m unet3d.cli settings | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_command_writes_where_it_was_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real `unet3d view` with names that YAML would cut, below the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    volume = np.zeros((12, 12, 12), np.float32)
    volume[3:9, 3:9, 3:9] = 1 + np.arange(6)
    for name in ("pat: 1, (a=b) #2.nii.gz", "seg {1}.nii.gz"):
        nibabel.save(nibabel.Nifti1Image((volume > 0) * volume, np.eye(4)), tmp_path / name)
    main(
        [
            "view",
            "image=~/pat: 1, (a=b) #2.nii.gz",
            "pred=~/seg {1}.nii.gz",
            "output=~/2024_05_01",
            "serve=false",
        ]
    )
    assert (tmp_path / "2024_05_01" / "view.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["lr=1e-3,1e-4"],
            "several values are tried by a sweep, as in python sweep.py -m lr=1e-3",
        ),
        (["data.root=/x (1)/it's"], "to set data.root to this very text, type "),
        (["lr=" + "9" * 400], "has too many digits"),
        (["output_dir="], "output_dir: '' is not possible"),
    ],
)
def test_what_hydra_refuses_says_what_to_type(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2; what it offers to type is taken by a shell as one word."""
    with pytest.raises(SystemExit) as ended:
        main(["preprocess", *arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert message in error
    if "very text" in message:
        (offered,) = shlex.split(error.rpartition("type ")[2])
        assert compose_config(["data=msd", offered]).data.root == "/x (1)/it's"


def test_a_resume_command_finds_the_run() -> None:
    """It names the folder of the runs where that is another, quoted for the shell and for Hydra."""
    assert resume_command("abc") == "python train.py resume=abc"
    for folder in ("runs here (2)", "2024_05", "it's"):
        words = shlex.split(resume_command("abc", folder))
        assert words[:3] == ["python", "train.py", "resume=abc"]
        assert compose_config(words[2:]).output_dir == folder


def test_the_best_command_of_an_earlier_report_has_its_replicas(tmp_path: Path) -> None:
    """Sweeps of earlier versions left them out of the command; their runs know them."""
    from omegaconf import OmegaConf

    sweep = write_sweep(tmp_path, "a")
    write_trial(sweep, 0, {"lr": "0.1"}, [0.5])
    run = tmp_path / "runs" / f"{0:032x}"
    run.mkdir(parents=True)
    config = compose_config(["parallel=data", "nodes=2", "parallel.lr_scaling=sqrt"])
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
    command = read_results(SweepFolder(sweep))[0].command
    assert command == ("python train.py lr=0.1 parallel=data parallel.lr_scaling=sqrt nodes=2")
    (run / "config.yaml").write_text("")
    assert read_results(SweepFolder(sweep))[0].command == "python train.py lr=0.1"


def test_a_dry_run_runs_nothing_whatever_launches_it(tmp_path: Path) -> None:
    """With Hydra's own launcher the trials are printed, and none is trained."""
    done = subprocess.run(
        [
            *(sys.executable, str(REPOSITORY / "sweep.py"), "-m", "hydra/launcher=basic"),
            *("lr=1e-3,1e-4", "dry_run=true", "experiment=smoke", "tracking=none"),
        ],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(REPOSITORY), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing was run") == 2
    assert "python train.py lr=0.0001 experiment=smoke" in done.stdout
    assert not (tmp_path / "outputs" / "runs").exists()
    assert not (tmp_path / "outputs" / "stores").exists()
