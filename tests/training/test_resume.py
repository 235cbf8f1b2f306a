"""What `resume=` may change, and what it refuses by name."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from tests.small import small_config
from unet3d.config.schema import Config, SGDConfig, as_dict
from unet3d.errors import ConfigError, RunError
from unet3d.training.resume import keep_patch, may_change, resumed_config


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, so that `composed` may be shared."""
    monkeypatch.chdir(tmp_path)


@cache
def composed(*overrides: str) -> Config:
    """Composed once for all tests, which takes longer than the tests."""
    return small_config(Path("outputs"), *overrides)


def make_run(*overrides: str) -> Config:
    """The record of a run "abc", without a training; returns its settings."""
    config = composed(*overrides)
    folder = Path("outputs/runs/abc")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(as_dict(config))))
    return config


def resumed(*overrides: str) -> Config:
    """As train.py does it: the settings that `resume=abc` and overrides are composed to."""
    typed = ["resume=abc", *overrides]
    return resumed_config(composed(*typed), typed)


def test_the_settings_are_those_of_the_run() -> None:
    """Of any choice, and what the command line has by default does not count."""
    began = make_run("optimizer=sgd", "lr=0.01", "data.stage_to=/ssd", "epochs=3")
    settings = resumed()
    assert settings.resume == "abc" and isinstance(settings.optimizer, SGDConfig)
    assert as_dict(settings) == {**as_dict(began), "resume": "abc"}


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("epochs=5", "epochs", 5),
        ("patience=2", "patience", 2),
        ("val_every=1", "val_every", 1),
        ("threads=1", "threads", 1),
        ("validation.overlap=0.5", "validation.overlap", 0.5),
        ("validation={overlap:0.5}", "validation.overlap", 0.5),
        ("data.workers=1", "data.workers", 1),
        ("data.prefetch=1", "data.prefetch", 1),
        ("data.stage_to=null", "data.stage_to", None),
        ("data.store=elsewhere", "data.store", "elsewhere"),
        ("parallel.max_failures=9", "parallel.max_failures", 9),
        ("parallel=data", "parallel.name", "data"),
        ("tracking.experiment=other", "tracking.experiment", "other"),
        ("+tracking.tags.site=b", "tracking.tags", {"team": "a", "site": "b"}),
        ("tracking=mlflow", "tracking.name", "mlflow"),
    ],
)
def test_what_leaves_the_result_may_change(
    tmp_path: Path, override: str, key: str, value: object
) -> None:
    """How far a run goes, where and how fast it computes, and where it is recorded."""
    make_run("data.stage_to=/ssd", "val_every=2", "+tracking.tags.team=a")
    assert OmegaConf.select(OmegaConf.create(as_dict(resumed(override))), key) == value


def test_a_run_that_sent_float16_says_why_it_cannot_go_on() -> None:
    """parallel.compression=float16 of earlier versions made small gradients 0."""
    make_run()
    settings = Path("outputs/runs/abc/config.yaml")
    settings.write_text(settings.read_text().replace("compression: none", "compression: float16"))
    with pytest.raises(ConfigError, match="parallel.compression: float16 .*float16 is gone"):
        resumed()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=0.1", "lr: 0.1 is not possible with resume=abc, which has 0.001: it would change the"),
        ("seed=1", "seed: 1 is not possible with resume=abc, which has 0"),
        ("model=resunet", "model.name: resunet is not possible with resume=abc, which has unet3d"),
        ("model={filters:8}", "model.filters: 8 is not possible with resume=abc, which has 4"),
        ("data.patch=[32,32,16]", "data.patch: [32,32,16] is not possible with resume=abc, which"),
        ("data.split={train:0.4,val:0.6,test:0}", "data.split.train: 0.4 is not possible with"),
        ("data.regions={a:[1]}", "data.regions: {a:[1]} is not possible with resume=abc, which"),
        ("parallel.lr_scaling=linear", "parallel.lr_scaling: linear is not possible with resume"),
        ("parallel.warmup_epochs=0", "parallel.warmup_epochs: 0.0 is not possible with resume"),
        ("parallel.compression=bfloat16", "parallel.compression: bfloat16 is not possible with"),
        ("experiment=smoke", "experiment: a resumed run keeps the settings it began with; leave"),
    ],
)
def test_what_would_change_the_result_is_refused_by_name(
    tmp_path: Path, override: str, message: str
) -> None:
    """One line with the key, both values, and what may change instead."""
    make_run()
    with pytest.raises(RunError) as caught:
        resumed(override)
    line = str(caught.value)
    assert line.startswith(message) and "\n" not in line
    if "with resume" in message:
        assert "what may change is epochs, nodes, val_every" in line
        assert "parallel.* (but not lr_scaling, warmup_epochs, compression)" in line


@pytest.mark.parametrize(
    "override",
    [
        "lr=1e-3",
        "model=unet3d",
        "model.filters=4",
        "model={filters:4}",
        "data=phantom",
        "data.patch=[16,16,16]",
        "data.split={train:0.5,val:0.25,test:0.25}",
        "parallel.lr_scaling=none",
    ],
)
def test_a_value_that_the_run_has_is_accepted(override: str) -> None:
    """The command that began a run, with resume= beside it, resumes it."""
    make_run()
    assert as_dict(resumed(override)) == as_dict(resumed())


def test_another_place_keeps_what_scales_the_rate() -> None:
    """`parallel=none` is where a run continues; its lr_scaling stays that of the run."""
    make_run("parallel=data", "parallel.lr_scaling=linear", "parallel.devices=2")
    settings = resumed("parallel=none")
    assert settings.parallel.name == "none" and settings.parallel.devices is None
    assert settings.parallel.lr_scaling == "linear"


@pytest.mark.parametrize(
    ("began", "override", "named"),
    [
        (["model.norm=batch"], "nodes=2", "model.norm=batch"),
        (["model.norm=batch"], "parallel.devices=2", "model.norm=batch"),
        (["model.norm=group", "parallel.lr_scaling=sqrt"], "nodes=2", "parallel.lr_scaling=sqrt"),
        (["model.norm=sync_batch"], "nodes=2", None),
        (["model.norm=batch"], "parallel.max_failures=9", None),
    ],
)
def test_other_replicas_are_warned_of_where_they_matter(
    caplog: pytest.LogCaptureFixture,
    began: list[str],
    override: str,
    named: str | None,
) -> None:
    """A run may resume on fewer nodes; one line says that the result changes a little."""
    make_run("parallel=data", *began)
    with caplog.at_level(logging.WARNING):
        resumed(override)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (named is not None)
    assert named is None or named in lines[0]


def test_the_whole_is_checked_with_the_runs_settings() -> None:
    """Four nodes divide the run's batch of 8, whatever batch_size is by default; three do not."""
    make_run("parallel=data", "batch_size=8")
    assert resumed("nodes=4").batch_size == 8
    with pytest.raises(ConfigError, match="batch_size: 8 .* cannot be shared by 3 replicas"):
        resumed("nodes=3")


def test_a_run_that_does_not_exist_is_named() -> None:
    """With where runs are looked for."""
    with pytest.raises(RunError, match="resume: abc is not a run in .*runs; the MLflow UI shows"):
        resumed()


def test_what_may_change_names_whole_groups() -> None:
    """Short enough for one line, and all that the schema says."""
    assert {"epochs", "patience", "threads", "nodes", "data.stage_to"} <= set(may_change())
    assert {"tracking.*", "validation.*"} <= set(may_change())
    assert "batch_per_replica" not in may_change()  # a run keeps the batch that it found by it
    assert "lr" not in may_change() and "resume" not in may_change()


def test_an_automatic_patch_stays_what_it_was() -> None:
    """The next attempt of a job has the sizes that the first one chose."""
    make_run("data.patch=[16,16,8]")
    job = composed("resume=abc", "data.patch=auto")
    assert keep_patch(job).data.patch == [16, 16, 8]
    lost = composed("resume=none", "data.patch=auto")
    assert keep_patch(lost).data.patch == "auto"
