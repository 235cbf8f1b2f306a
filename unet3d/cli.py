"""Command lines: Hydra's for train.py, and `unet3d <command> key=value ...` over the same conf/."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unet3d.config import Config, ConfigError, register_schema
from unet3d.config_errors import not_a_setting

USAGE = """usage: unet3d <command> [key=value ...]

commands
  predict      segment scans                     unet3d predict run=<id> input=<scan> output=<seg>
  evaluate     a run on its test cases, or pred=<folder> truth=<folder>
  export       a run's network for other programs
               unet3d export run=<id> output=<folder> format=savedmodel|onnx|mlflow|all
  view         pictures of a case                unet3d view image=<scan> pred=<seg> truth=<label>
  download     fetch and unpack a data set       unet3d download data=msd_brain
               unet3d download data=msd data.root=<folder> data.source.url=<address of an archive>
  preprocess   build the store of a data set     unet3d preprocess data=msd data.root=<folder>
               over a Ray cluster                unet3d preprocess ... parallel=experiment [nodes=n]
               read it again, check its sums     unet3d preprocess ... verify=true
  doctor       what is installed, what the data set holds (table and fingerprint.png), what the
               network needs, and patch, batch size and spacing that fit
  report       the table and the page of a sweep    unet3d report sweep=<name>

Settings are those of train.py: `python train.py --help` lists them."""


def conf_dir() -> Path:
    """The folder of the YAML files: the repository's, or the copy inside an installed wheel."""
    package = Path(__file__).resolve().parent
    beside = package.parent / "conf"
    return beside if beside.is_dir() else package / "conf"


def to_config(composed: Any) -> Config:
    """The typed settings of what Hydra composed; ConfigError where one is missing or impossible."""
    from omegaconf import OmegaConf

    from unet3d.checks import check_config

    _refuse_added(composed)
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise ConfigError(f"{missing[0]} is not set; type {missing[0]}=<value>")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    check_config(config)
    return config


def _refuse_added(node: Any, prefix: str = "") -> None:
    """ConfigError for a key that `+key=value` put beside the schema's."""
    from dataclasses import fields, is_dataclass

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


def replace_mappings(arguments: list[str]) -> list[str]:
    """`data.regions={...}` replaces the data set's regions; Hydra alone would merge the two."""
    replaced: list[str] = []
    for argument in arguments:
        if argument.startswith("data.regions={"):
            replaced.append("data.regions=null")
        replaced.append(argument)
    return replaced


def compose_config(overrides: list[str], name: str = "config") -> Config:
    """Compose conf/ with `overrides`, as train.py does; raises ConfigError or a Hydra error.

    name: of the YAML file to begin with; "sweep" is that of sweep.py.
    """
    from hydra import compose, initialize_config_dir

    register_schema()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return to_config(compose(name, overrides=replace_mappings(overrides)))


def run_hydra(task: Callable[[Config, list[str]], Any], name: str = "config") -> None:
    """Run `task(config, overrides)` under Hydra; a user's error is one line and exit code 2.

    name: of the YAML file in conf/ to begin with.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    register_schema()

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
    def main(composed: Any) -> Any:
        overrides = list(HydraConfig.get().overrides.task)
        # Guarded here as well: Hydra would print a line of its own above ours.
        return _guarded(lambda: task(to_config(composed), overrides))

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, so that `_guarded` words them
    sys.argv[1:] = replace_mappings(sys.argv[1:])
    _guarded(main)


def main(arguments: list[str] | None = None) -> None:
    """The `unet3d` command."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return
    commands: dict[str, Callable[[list[str]], None]] = {
        "download": _download,
        "preprocess": _preprocess,
        "doctor": _doctor,
        "predict": _predict,
        "evaluate": _evaluate,
        "export": _export,
        "view": _view,
        "report": _report,
    }
    name, overrides = arguments[0], arguments[1:]
    if name not in commands:
        sys.exit(f"unet3d: {name} is not a command; choose one of {', '.join(commands)}")
    if "-h" in overrides or "--help" in overrides:
        print(USAGE)
        return
    _guarded(lambda: commands[name](overrides))


def _download(overrides: list[str]) -> None:
    from unet3d.data.download import download
    from unet3d.log import log_to_console
    from unet3d.training.errors import RunStopped

    log_to_console()
    try:
        dataset = download(compose_config(overrides).data)
    except KeyboardInterrupt:
        told = "stopped; what has come is kept, and the same command goes on"
        raise RunStopped(told, exit_code=130) from None
    print(f"{len(dataset.cases)} cases in {dataset.root}")


def _preprocess(overrides: list[str]) -> None:
    from dataclasses import fields

    from unet3d.config import PreprocessConfig
    from unet3d.log import log_to_console
    from unet3d.preprocessing import preprocess_command
    from unet3d.training.errors import RunStopped

    log_to_console()
    names = tuple(f"{field.name}=" for field in fields(PreprocessConfig))
    # These are of the command; the others are settings of a training as well.
    own = typed(PreprocessConfig, [o for o in overrides if o.startswith(names)])
    config = compose_config([o for o in overrides if not o.startswith(names)])
    try:
        code = preprocess_command(config, own)
    except KeyboardInterrupt:
        told = "stopped; cases that are ready stay, and the same command goes on"
        raise RunStopped(told, exit_code=130) from None
    if code:
        sys.exit(code)


def _predict(overrides: list[str]) -> None:
    from unet3d.config import PredictConfig
    from unet3d.inference.predict import predict
    from unet3d.log import log_to_console

    log_to_console()
    predict(typed(PredictConfig, overrides))


def _evaluate(overrides: list[str]) -> None:
    from unet3d.config import EvaluateConfig
    from unet3d.evaluation.evaluate import evaluate
    from unet3d.log import log_to_console

    log_to_console()
    evaluate(typed(EvaluateConfig, overrides))


def _export(overrides: list[str]) -> None:
    from unet3d.config import ExportConfig
    from unet3d.inference.export import export
    from unet3d.log import log_to_console

    log_to_console()
    export(typed(ExportConfig, overrides))


def _view(overrides: list[str]) -> None:
    from unet3d.config import ViewConfig
    from unet3d.evaluation.view import view
    from unet3d.log import log_to_console

    log_to_console()
    view(typed(ViewConfig, overrides))


def typed(schema: type[Any], overrides: list[str]) -> Any:
    """key=value arguments as the dataclass `schema`. Raises ConfigError for what it lacks."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from unet3d.config_errors import explain

    unclear = [text for text in overrides if "=" not in text]
    if unclear:
        raise ConfigError(f"{unclear[0]}: not understood; write key=value")
    settings = OmegaConf.structured(schema)
    names = [str(name) for name in settings]
    for override in overrides:
        key = override.partition("=")[0]
        if key.split(".")[0] not in names:
            raise ConfigError(f"{key} is not a setting; choose one of {', '.join(names)}")
        try:
            settings = OmegaConf.merge(settings, OmegaConf.from_dotlist([override]))
        except OmegaConfBaseException as error:
            raise ConfigError(explain(error)) from error
    missing = sorted(OmegaConf.missing_keys(settings))
    if missing:
        raise ConfigError(f"{missing[0]} is not set; type {missing[0]}=<value>")
    return OmegaConf.to_object(settings)


def _doctor(overrides: list[str]) -> None:
    from unet3d.doctor import doctor

    doctor(compose_config(overrides), overrides)


def _report(overrides: list[str]) -> None:
    from unet3d.log import log_to_console
    from unet3d.sweep.report import report_again

    log_to_console()
    # Here `sweep` is the name of one, where Hydra would take it for a group of settings.
    names = [o.removeprefix("sweep=") for o in overrides if o.startswith("sweep=")]
    settings = [o for o in overrides if not o.startswith("sweep=")]
    path = report_again(compose_config(settings), names[-1] if names else "")
    print(f"report: {path}")


def _guarded(call: Callable[[], Any]) -> Any:
    """Call, and turn errors that the user can mend into one line on stderr and exit code 2."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from unet3d.config_errors import below_null, explain
    from unet3d.data.errors import DataError
    from unet3d.training.errors import RunError, RunStopped

    try:
        return call()
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.exit_code)
    except KeyboardInterrupt:
        print("stopped at once; the last checkpoint is kept", file=sys.stderr)
        sys.exit(130)
    except (ConfigError, DataError, RunError) as error:
        sys.exit(_fail(str(error)))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_fail(explain(error)))
    except AssertionError as error:
        if not below_null(error):
            raise
        sys.exit(_fail("data.phantom is of data=phantom; with another data set it has no settings"))


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
