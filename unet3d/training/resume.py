"""The settings of a resumed run: those it began with, except for what may change."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from unet3d.config.compose import from_dict, stored_config
from unet3d.config.messages import as_typed
from unet3d.config.rules import check_config
from unet3d.config.schema import AUTO, Config, as_dict
from unet3d.config.setting import Effect
from unet3d.config.walk import settings_by_group, subgroups, walk
from unet3d.errors import RunError
from unet3d.run_folder import run_folder

log = logging.getLogger(__name__)
# Which run, where the runs are now, whether this time its data may differ, and when to end.
OF_THE_COMMAND = ("resume", "output_dir", "data.changed", "stop_after")
OF_THE_START = "batch_per_replica"  # by which a run has found the batch that it keeps


def resumed_config(config: Config, overrides: list[str]) -> Config:
    """The settings stored with run `config.resume`, with those overrides that may change.

    config: what `overrides` were composed to. Raises RunError for a run that does not exist, and
    for an override that would change the result; one that repeats the stored value is accepted.
    """
    from omegaconf import OmegaConf

    assert config.resume is not None
    folder = run_folder(config.output_dir, config.resume)
    if not folder.config.is_file():
        raise RunError(
            f"resume: {config.resume} is not a run in {folder.path.parent}; "
            "the MLflow UI shows the ids, and output_dir says where runs are"
        )
    stored = stored_config(folder.config)
    merged, current = OmegaConf.create(as_dict(stored)), OmegaConf.create(as_dict(config))
    for key in _changes(config, stored, overrides):
        OmegaConf.update(merged, key, OmegaConf.select(current, key), force_add=True)
    settings: Any = OmegaConf.to_container(merged)
    resumed = from_dict(settings)
    check_config(resumed)
    _warn_of_replicas(stored, resumed)
    return resumed


def keep_patch(config: Config) -> Config:
    """The settings of a job's or trial's next attempt: its batch, and what `auto` chose, as before.

    Without a record of `config.resume`, one that was lost at its very start, they stay as they are.
    """
    assert config.resume is not None
    path = run_folder(config.output_dir, config.resume).config
    automatic = [key for key in ("patch", "spacing") if getattr(config.data, key) == AUTO]
    by_replicas = config.batch_per_replica is not None
    if not (automatic or by_replicas) or not path.is_file():
        return config
    before = stored_config(path)
    kept = {key: getattr(before.data, key) for key in automatic}
    config = replace(config, data=replace(config.data, **kept))
    if by_replicas:
        config = replace(config, batch_size=before.batch_size, batch_per_replica=None)
    return config


def _changes(config: Config, stored: Config, overrides: list[str]) -> list[str]:
    """The keys of `overrides` to take over from `config`. RunError for one that may not change."""
    from omegaconf import OmegaConf

    current, before = OmegaConf.create(as_dict(config)), OmegaConf.create(as_dict(stored))
    effects = {key: setting.effect for key, _, setting in walk(config)}
    changed = list(OF_THE_COMMAND)
    for override in overrides:
        typed, _, value = override.lstrip("+").partition("=")
        for key in _keys(typed, value, effects):
            effect = _effect(key, effects)
            if key in (*changed, OF_THE_START):
                continue
            if effect is None:
                raise RunError(
                    f"{key}: a resumed run keeps the settings it began with; leave {override} out"
                )
            new, old = OmegaConf.select(current, key), OmegaConf.select(before, key)
            if effect is not Effect.RESULT:
                changed.append(key)
            elif new != old:
                raise RunError(
                    f"{key}: {as_typed(new)} is not possible with resume={config.resume}, which "
                    f"has {as_typed(old)}: it would change the result; what may change is "
                    f"{', '.join(may_change())}"
                )
    return changed


def _keys(typed: str, value: str, effects: dict[str, Effect]) -> list[str]:
    """The settings that an override names: one, or those of a group.

    Of a choice, as in model=unet3d, it is the name alone, or what may change in the group: the
    run's other settings may differ from the choice's.
    """
    below = [key for key in effects if key.startswith(f"{typed}.")]
    if typed not in subgroups(Config) or value.startswith("{"):
        return below or [typed]
    name = f"{typed}.name"
    if effects.get(name) is Effect.RESULT:
        return [name]
    return [key for key in below if effects[key] is not Effect.RESULT]


def _effect(key: str, effects: dict[str, Effect]) -> Effect | None:
    """The effect of a setting, or of an entry in one, such as tracking.tags.site; else None."""
    while key and key not in effects:
        key = key.rpartition(".")[0]
    return effects.get(key)


def may_change() -> list[str]:
    """The settings that a resumed run may change, whole groups as group.*."""
    listed = []
    for group, settings in settings_by_group(Config).items():
        prefix = f"{group}." if group else ""
        fixed = [name for name, setting in settings.items() if setting.effect is Effect.RESULT]
        free = [
            prefix + name
            for name in settings
            if name not in (*fixed, "resume", "job", OF_THE_START)
        ]
        if group and len(free) > len(fixed):
            but = f" (but not {', '.join(fixed)})" if fixed else ""
            free = [f"{prefix}*{but}"]
        listed += free
    return listed


def _warn_of_replicas(stored: Config, resumed: Config) -> None:
    """Warn where the number of replicas may be another, and the result depends on it a little."""

    def replicas(config: Config) -> tuple[object, ...]:
        parallel = config.parallel
        return config.nodes, parallel.name, parallel.devices, parallel.gpus_per_node

    if replicas(stored) == replicas(resumed):
        return
    if resumed.model.norm == "batch":
        log.warning(
            "resume: with other replicas than before, model.norm=batch computes its statistics "
            "over another share of the batch, and the result changes a little"
        )
    elif resumed.parallel.lr_scaling != "none":
        log.warning(
            "resume: with other replicas than before, parallel.lr_scaling=%s gives another "
            "learning rate, and the result changes a little",
            resumed.parallel.lr_scaling,
        )
