"""From conf/ and overrides to settings, and from a run's config.yaml back to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from unet3d.config.batch import set_batch
from unet3d.config.command_line import expand_home, prepare_overrides, without_config_dir
from unet3d.config.composed_plans import with_composed_plans
from unet3d.config.messages import explain, not_a_setting
from unet3d.config.rules import check_config, check_names
from unet3d.config.schema import AUTO, Config, TrainConfig, register_schema, schemas_of
from unet3d.config.setting import NO_EFFECT
from unet3d.config.typed import is_text, setting_types, typed_value
from unet3d.config.walk import check_values, own_settings, subgroups, walk
from unet3d.errors import ConfigError, RunError

Schema = TypeVar("Schema")
# Of every config.yaml since the first version; what follows them in the file has no effect.
ALWAYS_STORED = (
    *subgroups(Config),
    *(
        key
        for key, of in own_settings(Config).items()
        if of.effect is not NO_EFFECT and not of.newer
    ),
    "output_dir",
)


def conf_dir() -> Path:
    """The folder of the YAML files: the repository's, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "conf"
    return beside if beside.is_dir() else package / "conf"


def compose_config(overrides: list[str], name: str = "config") -> Config:
    """Compose conf/ with `overrides`, as train.py does; raises ConfigError or a Hydra error.

    name: of the YAML file to begin with; "sweep" is that of sweep.py. `--config-dir <folder>`
    among the overrides adds groups and presets of the user's own.
    """
    from hydra import compose, initialize_config_dir

    register_schema()
    check_typed(overrides, name)
    typed, folders = without_config_dir(overrides)
    prepared = [*folders, *prepare_overrides(typed)]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return complete_config(compose(name, overrides=prepared), name, prepared)


def check_typed(arguments: Iterable[str], name: str) -> None:
    """ConfigError for a setting of sweeps among what is typed for a training alone.

    A preset may have some, which a training leaves. name: of the YAML file to begin with.
    """
    keys = (argument.partition("=")[0].lstrip("+~") for argument in arguments)
    for key in keys:
        if name == "config" and key.partition(".")[0] == "sweep":
            raise ConfigError(not_a_setting(key))


def complete_config(composed: Any, name: str, overrides: list[str]) -> Config:
    """`to_config` of what Hydra, which is running, has composed, with the plans that it names."""
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    return to_config(
        with_composed_plans(
            composed, name, overrides, loader, lambda complete: compose(name, overrides=complete)
        )
    )


def to_config(composed: Any) -> Config:
    """The typed settings of what Hydra composed; ConfigError where one is missing or impossible.

    With `resume` the other settings may belong to another run than that: only each value alone is
    checked here, and the whole once the stored settings are read.
    """
    _refuse_added(composed)
    _refuse_missing(composed)
    return with_known_keys(composed)


def with_known_keys(composed: Any) -> Config:
    """The same for keys that to_config has taken before; half as long.

    None of them can be missing or too many, only a value impossible.
    """
    config = _complete(composed)
    assert isinstance(config, Config)
    if isinstance(config.data.spacing, list):  # 1 and 1.0 are one setting
        sizes = config.data.spacing
        config.data.spacing = [float(size) if type(size) is int else size for size in sizes]
    check_names(config)
    if config.resume in (None, AUTO):
        set_batch(config)
        check_config(config)
    else:
        check_values(config)
    return config


def from_overrides(schema: type[Schema], overrides: list[str]) -> Schema:
    """key=value arguments as the dataclass `schema`, without conf/.

    Text is taken as it was typed. Raises ConfigError for a setting that is unknown, missing or
    impossible.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    unclear = [text for text in overrides if "=" not in text]
    if unclear:
        raise ConfigError(f"{unclear[0]}: not understood; write key=value")
    kinds, texts = setting_types(schema), {}
    try:
        settings = OmegaConf.structured(schema)
        for override in overrides:
            key, _, typed = override.partition("=")
            if key not in kinds:
                raise ConfigError(f"{key} is not a setting; choose one of {_beside(key, kinds)}")
            if f"{key}.choice" in kinds and not typed.lstrip().startswith("{"):
                key = f"{key}.choice"  # postprocess=auto
            value = typed_value(key, typed, kinds[key])
            if is_text(kinds[key]):
                texts[key], value = value, ""  # OmegaConf would look for ${...} and ??? in it
            OmegaConf.update(settings, key, value, merge=True)
        _refuse_missing(settings)
        complete = _complete(settings)
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    for key, text in texts.items():
        _set(complete, key, text)
    _expand_paths(complete)
    check_values(complete)
    return complete


def _beside(key: str, kinds: dict[str, Any]) -> str:
    """The settings of the group of `key`, or at the top where there is no such group."""
    group = key.rpartition(".")[0]
    prefix = f"{group}." if group in kinds else ""
    names = [k for k in kinds if k.startswith(prefix) and "." not in k[len(prefix) :]]
    return ", ".join(names)


def from_dict(settings: dict[str, Any]) -> Config:
    """Plain nested settings, as `as_dict` makes them, as the dataclasses that they were."""
    from omegaconf import OmegaConf

    schema = OmegaConf.structured(Config)
    for group in subgroups(Config):
        by_name = {getattr(choice, "name", None): choice for choice in schemas_of(group)}
        if len(by_name) > 1:
            schema[group] = OmegaConf.structured(by_name[settings[group]["name"]])
    config = OmegaConf.to_object(OmegaConf.merge(schema, settings))
    assert isinstance(config, Config)
    return config


def stored_config(path: Path) -> Config:
    """The settings in a run's config.yaml. Raises RunError for one that is missing or damaged."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    lost = "; put back a copy, such as config/config.yaml of the run's artifacts in MLflow"
    try:
        settings: Any = OmegaConf.to_container(OmegaConf.load(path))
        absent = [key for key in ALWAYS_STORED if key not in settings]
        if absent:  # defaults in their place would be another run
            raise RunError(f"{path}: is cut short, {absent[0]} is missing{lost}")
        return from_dict(settings)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}){lost}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: is damaged, not YAML{lost}") from error
    except OmegaConfBaseException as error:
        raise RunError(f"{path}: is damaged ({explain(error)}){lost}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: is damaged ({type(error).__name__}: {error}){lost}") from error


def training_settings(config: Config) -> Config:
    """The settings of the training alone, without those of a sweep."""
    return Config(**{field.name: getattr(config, field.name) for field in fields(Config)})


def _refuse_missing(settings: Any) -> None:
    """ConfigError for a setting that has no value yet."""
    from omegaconf import OmegaConf

    missing = sorted(OmegaConf.missing_keys(settings))
    if missing:
        raise ConfigError(f"{missing[0]} is not set; type {missing[0]}=<value>")


def _complete(settings: Any) -> Any:
    """The dataclass that `settings` are."""
    from omegaconf import OmegaConf

    complete: Any = OmegaConf.to_object(settings)
    if isinstance(complete, TrainConfig):
        complete = training_settings(complete)
    _expand_paths(complete)
    return complete


def _expand_paths(settings: Any) -> None:
    """~ in each setting that is a path, whether typed or from a YAML file."""
    for key, value, setting in list(walk(settings)):
        if setting.path and isinstance(value, str):
            _set(settings, key, expand_home(value))


def _set(settings: Any, key: str, value: Any) -> None:
    """Set an attribute of nested dataclasses by its dotted key."""
    *groups, name = key.split(".")
    for group in groups:
        settings = getattr(settings, group)
    setattr(settings, name, value)


def _refuse_added(node: Any, prefix: str = "") -> None:
    """ConfigError for a key that `+key=value` put beside the schema's."""
    from omegaconf import DictConfig, OmegaConf

    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
        return
    kind = OmegaConf.get_type(node)
    if is_dataclass(kind):
        known = {field.name for field in fields(kind)}
        for key in node:
            if key not in known:
                raise ConfigError(not_a_setting(f"{prefix}{key!s}"))
        for key in known:
            if not OmegaConf.is_missing(node, key):
                _refuse_added(node[key], f"{prefix}{key}.")
