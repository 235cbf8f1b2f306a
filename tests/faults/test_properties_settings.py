"""Any text for a text setting arrives as typed; any number is taken exactly, or is one line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unet3d.cli.user_errors import guarded
from unet3d.config.command_line import hydra_text, is_text_setting, prepare_overrides
from unet3d.config.compose import compose_config, from_overrides
from unet3d.config.schema import COMMANDS, EvaluateConfig, PredictConfig
from unet3d.config.typed import setting_types

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
FEW = settings(BOUNDED, max_examples=8)  # each goes through the real Hydra
# What a shell can hand over: no NUL, no lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
LIKE_VALUES = st.text("0123456789_.eE+-:#'\"{}[]()=,$~!&|*%@ \\truefalsnulix?/", max_size=12)
KEYS = sorted({(kind, key) for kind in COMMANDS.values() for key in setting_types(kind)}, key=str)


def outcome(call: object, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """What the call returns and "", or None and the one line that it ends in."""
    try:
        return guarded(call), ""  # type: ignore[arg-type]
    except SystemExit as ended:
        error = capsys.readouterr().err
        assert ended.code == 2
        assert error.startswith("error: ") and error.count("\n") == 1, error
        return None, error


@BOUNDED
@given(text=TEXT | LIKE_VALUES)
def test_any_text_arrives_as_it_was_typed(text: str) -> None:
    """In a command's settings, but for ~ at the start of a path and null."""
    if text.strip() and not text.startswith("~") and "~" not in text[:20]:
        typed = from_overrides(PredictConfig, ["run=x", f"input={text}", f"output={text}"])
        assert (typed.input, typed.output) == (text, text)


@FEW
@given(text=TEXT | LIKE_VALUES)
def test_any_text_for_a_training_arrives_or_is_one_line(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quoted as we offer it always; unquoted unless it is written in Hydra's grammar."""
    if text != "???":  # OmegaConf's word for a value that is missing
        quoted = compose_config([f"tracking.run_name={hydra_text(text)}"])
        assert quoted.tracking.run_name == text
    config, error = outcome(lambda: compose_config([f"tracking.run_name={text}"]), capsys)
    if not error and not set(text) & set("'\"()[]{}$\\,") and text not in ("null", "???"):
        assert config.tracking.run_name == text  # type: ignore[attr-defined]


@BOUNDED
@given(number=st.integers() | st.floats() | st.sampled_from([2**31, 2**64, 10**400, -(10**400)]))
def test_any_number_is_taken_exactly_or_refused(
    number: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole numbers and others, of any size."""
    typed = str(number) if isinstance(number, int) and abs(number) < 10**4000 else repr(number)
    for key, kind in (("batch_size", int), ("postprocess.min_volume", float), ("threads", int)):
        found, error = outcome(
            lambda key=key: from_overrides(EvaluateConfig, [f"{key}={typed}"]), capsys
        )
        if error:
            assert key in error
            continue
        value = found
        for part in key.split("."):
            value = getattr(value, part)
        assert type(value) is kind and (value == kind(typed) or value != value)


@BOUNDED
@given(kind_and_key=st.sampled_from(KEYS), text=TEXT | LIKE_VALUES)
def test_no_value_of_any_setting_is_a_traceback(
    kind_and_key: tuple[type, str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is typed for whatever setting of a command."""
    kind, key = kind_and_key
    needed = [f"{name}=x" for name in ("run", "input", "output", "image", "pred", "truth")]
    given_too = [one for one in needed if one.partition("=")[0] in setting_types(kind)]
    outcome(lambda: from_overrides(kind, [*given_too, f"{key}={text}"]), capsys)


@FEW
@given(
    key=st.sampled_from(
        ["lr", "seed", "batch_size", "data.spacing", "data.patch", "data.regions", "augment.flip"]
    ),
    text=LIKE_VALUES | st.integers(-(10**40), 10**40).map(str) | st.floats().map(repr),
)
def test_no_value_of_a_training_is_a_traceback(
    key: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the real Hydra, the schema and the rules."""
    assert not is_text_setting(key)
    config, error = outcome(lambda: compose_config([f"{key}={text}"]), capsys)
    assert config is not None or error


@BOUNDED
@given(argument=TEXT | LIKE_VALUES)
def test_preparing_arguments_keeps_what_is_no_text_setting(argument: str) -> None:
    """Only text settings are quoted; anything else is Hydra's to read."""
    assert prepare_overrides([argument]) == [argument]
    assert prepare_overrides([f"model={argument}"]) == [f"model={argument}"]
