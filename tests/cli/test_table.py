"""The table of commands: help, errors and exit codes."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import pytest

from tests import REPOSITORY
from unet3d.cli import COMMANDS, Command, main
from unet3d.config.command_line import program
from unet3d.config.compose import from_overrides

EACH_COMMAND = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
OURS = [command for command in COMMANDS if not command.by_hydra]
WORDS = re.compile(r"\s+")


@pytest.mark.parametrize("command", OURS, ids=lambda command: command.name)
def test_help_of_a_command_has_its_examples_and_settings(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """`unet3d <command> --help`: what it is for, what to type, each setting of its schema."""
    main([command.name, "--help"])
    shown = capsys.readouterr().out
    assert command.description in WORDS.sub(" ", shown)
    assert len(command.examples) == 3
    for example in command.examples:
        assert example in shown and f"unet3d {command.name}" in example
    for field in dataclasses.fields(command.schema) if command.schema else ():
        assert re.search(rf"^ +{field.name}\b", shown, re.MULTILINE), field.name
    assert ("the settings of a training" in shown) == command.of_training


@pytest.mark.parametrize("name", ["train", "sweep"])
def test_a_training_and_a_sweep_have_the_help_of_their_scripts(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which lists all settings and says what is typed here."""
    main([name, "--help"])
    shown = capsys.readouterr().out
    assert f"\n  {' '.join(program(name))} " in shown and "\n  lr=" in shown


@EACH_COMMAND
def test_the_examples_are_settings_of_the_command(command: Command) -> None:
    """Each example of a help could be typed: its keys and values fit the schema."""
    for example in command.examples if command.schema and not command.of_training else ():
        from_overrides(
            command.schema, example.replace("<id>", "abc").replace("<name>", "abc").split()[2:]
        )


def test_help_fits_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line but examples, which are there to be copied, is longer than the terminal is wide."""
    monkeypatch.setenv("COLUMNS", "50")
    examples = {f"  {example}" for command in COMMANDS for example in command.examples}
    main([])
    for command in OURS:
        main([command.name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 200
    whole = [x for x in lines if x not in examples and not re.match(r"  \S+=|usage", x)]
    assert [line for line in whole if len(line) > 50] == []


@EACH_COMMAND
def test_a_command_refuses_what_its_help_does_not_list(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The schema in the table is the one that the command reads its arguments by."""
    with pytest.raises(SystemExit) as ended:
        main([command.name, "nonsense=1"])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith("error: nonsense") and error.count("\n") == 1
    if command.schema and not command.of_training:
        assert all(field.name in error for field in dataclasses.fields(command.schema))


def test_help_lists_the_commands_without_tensorflow() -> None:
    """`unet3d` and `--help` import none of what the commands run."""
    heavy = ("tensorflow", "keras", "mlflow", "ray", "numpy", "hydra")
    code = (
        "import sys; from unet3d.cli import main; main([]); main(['--help']); "
        f"main(['predict', '--help']); assert not set({heavy}) & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert done.stdout.count(f"\n  {command.name} ") == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pedict", "error: pedict is not a command; did you mean predict?\n"),
        ("fly", "error: fly is not a command; choose one of init, train, sweep, "),
    ],
)
def test_an_unknown_command_is_one_line(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with the name that was meant or the names there are."""
    with pytest.raises(SystemExit) as ended:
        main([name, "run=x"])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(message) and error.count("\n") == 1


def test_ctrl_c_ends_in_the_line_of_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 130; a download says that it resumes."""
    monkeypatch.setattr("unet3d.datasets.download.download", _interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["download"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == (
        "stopped; what was downloaded is kept, and the same command resumes\n"
    )


def _interrupted(_: object) -> None:
    raise KeyboardInterrupt


def test_a_setting_below_one_that_is_null_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Phantoms' settings beside another data set: one line, where OmegaConf asserts."""
    with pytest.raises(SystemExit) as ended:
        main(["preprocess", "data=msd", "data.root=nowhere", "data.phantom.cases=3"])
    assert ended.value.code == 2
    assert "data.phantom is of data=phantom" in capsys.readouterr().err
