"""The model card beside each export: what the network is, saw and reached, for whoever gets it.

In the form of Hugging Face's cards: YAML that its pages read, then Markdown.
https://huggingface.co/docs/hub/model-cards
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from unet3d.config.schema import Config
from unet3d.files import read_text
from unet3d.run_folder import RunFolder
from unet3d.tracking.facts import read_facts

CARD = "MODEL_CARD.md"
NOT_KNOWN = "not recorded"
TASK = "image-segmentation"  # as Hugging Face calls it
SHOWN = ("dice", "hd95", "nsd")  # of the test cases' metrics


def model_card(
    config: Config, about: dict[str, Any], run: RunFolder, name: str, members: Sequence[str] = ()
) -> str:
    """Markdown from the run's files: network, data, results, use.

    about: of input and output, as `network.json` has it. name: of the network. members: the runs of
    an ensemble, of which `run` is the first.
    """
    lines = [*_front_matter(config, run, name), *_lines(config, about, run, name, members)]
    return "\n".join(lines) + "\n"


def _front_matter(config: Config, run: RunFolder, name: str) -> Iterator[str]:
    """What machines read: kind, tags, and each mean with the data that it was measured on."""
    import yaml

    facts = read_facts(run)
    dataset = {"type": config.data.name, "name": facts.dataset.get("name", config.data.name)}
    if "digest" in facts.dataset:
        dataset["revision"] = facts.dataset["digest"]
    results: list[dict[str, Any]] = [
        {
            "task": {"type": TASK, "name": "3D segmentation of medical images"},
            "dataset": {**dataset, "split": part},
            "metrics": metrics,
        }
        for part, metrics in (("validation", _validated(run)), ("test", _tested(run)))
        if metrics
    ]
    card: dict[str, Any] = {
        "license": "unknown",
        "library_name": "unet3d",
        "pipeline_tag": TASK,
        "tags": ["medical-imaging", "3d-segmentation", "keras", name],
        "metrics": ["dice"],
    }
    if results:  # which Hugging Face wants with the name
        card["model-index"] = [{"name": facts.name or name, "results": results}]
    yield from ("---", *yaml.safe_dump(card, sort_keys=False).splitlines(), "---")


def _validated(run: RunFolder) -> list[dict[str, Any]]:
    """The mean Dice of the validation cases with the best weights, of all outputs and of each."""
    rows = list(csv.DictReader((read_text(run.case_scores) or "").splitlines()))
    return [
        _metric(" ".join(["mean Dice", *key.split("_")[1:]]), fmean(float(r[key]) for r in rows))
        for key in (rows[0] if rows else ())
        if key == "dice" or key.startswith("dice_")
    ]


def _tested(run: RunFolder) -> list[dict[str, Any]]:
    """The mean Dice of each region over the test cases, where they were opened."""
    rows = csv.DictReader((read_text(run.test / "summary.csv") or "").splitlines())
    return [
        _metric(f"mean Dice {row['region']}", float(row["mean"]))
        for row in rows
        if row["metric"] == "dice"
    ]


def _metric(name: str, value: float) -> dict[str, Any]:
    return {"type": "dice", "name": name, "value": round(value, 4)}


def _lines(
    config: Config, about: dict[str, Any], run: RunFolder, name: str, members: Sequence[str]
) -> Iterator[str]:
    facts = read_facts(run)
    dataset = facts.dataset
    yield from (
        f"# {facts.name or name}",
        "",
        "A network for the segmentation of 3D medical images.",
    )
    yield from ("", "## Network", "")
    if len(members) > 1:
        yield f"- the weighted mean of {len(members)} networks, of the runs {', '.join(members)};"
        yield "  what follows is of the first of them"
    yield f"- {name}, trained by unet3d for {config.epochs} epochs at most, seed {config.seed}"
    yield f"- run {run.run_id}, code {facts.tags.get('mlflow.source.git.commit', NOT_KNOWN)}"
    yield f"- input: {', '.join(about['input']['channels'])}"
    yield f"- output: {', '.join(about['output']['logits_of'])} ({about['output']['read_as']})"
    spacing = config.data.spacing
    yield f"- voxels of {spacing} mm" if spacing else "- voxels as in the files"
    yield from ("", "## Data", "")
    yield f"- {dataset.get('name', config.data.name)}: {dataset.get('cases', NOT_KNOWN)} cases"
    yield f"- digest of all files: {dataset.get('digest', NOT_KNOWN)}"
    yield from ("- where they come from and who is in them: to be added", "", "## Results", "")
    yield from _results(run)
    yield from ("", "## Use", "")
    yield "For research. It is not a medical device, and nobody has approved it for patients."
    yield "Scans of other scanners, protocols or people than those it was trained on may be"
    yield "segmented badly without any sign of it: measure on scans of your own first."
    yield from ("", "Licence, authors and contact: to be added by those who publish it.")


def _results(run: RunFolder) -> Iterator[str]:
    """Of validation and test cases; of these where `unet3d evaluate` has opened them."""
    if validated := _validated(run):
        shown = ", ".join(
            f"{one['name'].removeprefix('mean Dice').strip() or 'all'} {one['value']}"
            for one in validated
        )
        yield f"On the validation cases, by which the best weights were chosen, mean Dice: {shown}."
        yield ""
    text = read_text(run.test / "summary.csv")
    if text is None:
        yield f"The test cases have not been opened: `unet3d evaluate run={run.run_id}`."
        return
    yield from ("On the test cases, mean and median:", "", "| region | metric | mean | median |")
    yield "|---|---|---|---|"
    for row in csv.DictReader(text.splitlines()):
        if row["metric"] in SHOWN:
            yield f"| {row['region']} | {row['metric']} | {row['mean']} | {row['median']} |"
