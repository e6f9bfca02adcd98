"""What is checked is what README.md tells people to run."""

import os
import re
import subprocess
import tomllib

import kcompiler
from tests.repository.tree import ROOT, read

README_COMMANDS = re.compile(r"^## (Set up|Test)$.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_ci_runs_the_commands_of_the_readme() -> None:
    blocks = dict(README_COMMANDS.findall(read("README.md")))
    assert blocks.keys() == {"Set up", "Test"}
    command = ["bash", ".ci/run", "--commands"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == blocks["Set up"] + blocks["Test"]


def test_ci_can_be_executed() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_version_is_the_same_everywhere() -> None:
    assert kcompiler.__version__ == tomllib.loads(read("pyproject.toml"))["project"]["version"]


def test_dependencies_have_lower_bounds_only() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    optional = [item for group in project["optional-dependencies"].values() for item in group]
    bounded = re.compile(r"[\w.-]+(\[\w+\])?>=[\d.]+")
    odd = [r for r in project["dependencies"] + optional if not bounded.fullmatch(r)]
    assert odd == ["kcompiler[test]"]
