"""The images: lint, who runs them, what goes in, and that what they are told exists. They were not built here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from deployment_files import DEPLOY, image_command, image_environment, instructions, served_settings
from serving_scene import REPOSITORY

FILES = ("Dockerfile", "worker.Dockerfile")


def test_its_example_and_the_guides_publish_to_this_machine_alone() -> None:
    for file in (DEPLOY / "Dockerfile", REPOSITORY / "docs" / "serving.md"):
        published = re.findall(r"--publish (\S+)", file.read_text(encoding="utf-8"))
        assert published
        assert all(one.startswith("127.0.0.1:") for one in published)


@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name: str) -> None:
    beside = Path(sys.executable).with_name("hadolint")
    tool = str(beside) if beside.is_file() else shutil.which("hadolint")
    if tool is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([tool, str(DEPLOY / name)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_it_runs_as_a_numbered_user_by_the_exec_form(name: str) -> None:
    found = instructions(name)
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    final = dict(found[last:])
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", final["USER"])
    assert final["ENTRYPOINT"].startswith("[")
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert "HEALTHCHECK" in final
    assert "org.opencontainers.image.title" in final["LABEL"]
    assert all(word != "ADD" for word, _ in found)


def test_the_final_stage_takes_the_environment_and_nothing_of_the_sources() -> None:
    found = instructions()
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    assert [rest for word, rest in found[last:] if word == "COPY"] == ["--from=environment /opt/graft /opt/graft"]
    assert all(word != "RUN" for word, _ in found[last:])


def test_every_version_in_it_is_locked() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN" and "pip" in rest and "install" in rest]
    assert runs
    for run in runs:
        for one in run.split("&&"):
            if " install " in one:
                assert "--requirement /locks/serve.lock" in one or "--constraint /locks/all.lock" in one, one


@pytest.mark.parametrize("name", FILES)
def test_the_builder_sees_what_is_copied_and_no_data_and_no_key(name: str) -> None:
    lines = (DEPLOY / f"{name}.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    shown = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert shown.isdisjoint({"data", "models", "releases", "captures", ".git", ".dvc", "tests"})
    for word, rest in instructions(name):
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert source.partition("/")[0] in shown, source
                assert (REPOSITORY / source).exists(), source


def test_the_version_is_the_project_s_wherever_it_stands() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert ("ARG", f"VERSION={version}") in instructions()
    for name in ("deploy/kubernetes/server.yaml", "docs/serving.md"):
        found = re.findall(r"graft-(?:serve:)?(\d+\.\d+\.\d+)", (REPOSITORY / name).read_text(encoding="utf-8"))
        assert set(found) == {version}, name


def test_its_variables_are_settings_that_a_server_knows() -> None:
    settings = served_settings({})
    assert str(settings.store) == "/releases"
    assert (settings.serve.host, settings.serve.port) == ("0.0.0.0", 8000)
    assert image_command() == ["python", "-m", "deploy.server"]
    assert image_environment()["PATH"].startswith("/opt/graft/bin:")
