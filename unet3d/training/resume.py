"""The settings of a run that goes on: as it was started, but for what may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unet3d.config import AUTO, Config
from unet3d.tracking.run import run_folder
from unet3d.training.errors import RunError

MAY_CHANGE = (
    *("epochs", "patience", "val_every", "threads", "data.workers", "data.prefetch"),
    "data.stage_to",
    *("parallel", "nodes"),  # as many workers as there are: they compute the same
)
MAY_CHANGE_UNDER = ("tracking.", "validation.", "parallel.")


def resumed_config(config: Config, overrides: list[str]) -> Config:
    """The settings stored with run `config.resume`, with those overrides that may change.

    Raises RunError for a run that is not there, and for an override that would make it another run.
    """
    from omegaconf import OmegaConf

    assert config.resume is not None
    folder = run_folder(config, config.resume)
    if not (folder / "config.yaml").is_file():
        raise RunError(
            f"resume: {config.resume} is not a run in {folder.parent}; "
            "the MLflow UI shows the ids, and output_dir says where runs are"
        )
    stored = OmegaConf.load(folder / "config.yaml")
    kept = ["resume", "output_dir"]
    for override in overrides:
        key = override.lstrip("+").split("=", 1)[0]
        if key in ("resume", "output_dir"):
            continue
        if key not in MAY_CHANGE and not key.startswith(MAY_CHANGE_UNDER):
            raise RunError(
                f"{key}: a run goes on with the settings it began with; "
                f"only {', '.join(MAY_CHANGE)}, tracking.*, validation.* and "
                "parallel.* may change"
            )
        kept.append(key)
    current = OmegaConf.structured(config)
    for key in kept:
        OmegaConf.update(stored, key, OmegaConf.select(current, key), force_add=True)
    return _typed(OmegaConf.to_container(stored))


def keep_patch(config: Config) -> Config:
    """The settings of a job's or trial's next attempt: data.patch=auto is what it was before.

    Without a record of `config.resume`, one that was lost at its very start, they stay as they are.
    """
    assert config.resume is not None
    path = run_folder(config, config.resume) / "config.yaml"
    if config.data.patch != AUTO or not path.is_file():
        return config
    return replace(config, data=replace(config.data, patch=stored_config(path).data.patch))


def stored_config(path: Path) -> Config:
    """The settings in a run's config.yaml."""
    from omegaconf import OmegaConf

    return _typed(OmegaConf.to_container(OmegaConf.load(path)))


def _typed(settings: object) -> Config:
    """The dataclasses again, each group by the schema of its choice."""
    from omegaconf import OmegaConf

    from unet3d.config import AdamConfig, AdamWConfig, SGDConfig

    assert isinstance(settings, dict)
    by_name = {"adam": AdamConfig, "adamw": AdamWConfig, "sgd": SGDConfig}
    chosen = by_name[settings["optimizer"]["name"]]
    schema = OmegaConf.structured(Config)
    schema.optimizer = OmegaConf.structured(chosen)
    config = OmegaConf.to_object(OmegaConf.merge(schema, settings))
    assert isinstance(config, Config)
    return config
