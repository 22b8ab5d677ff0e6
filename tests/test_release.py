"""What goes out with a version agrees with it: changelog, citation, licence, types."""

import re
import tomllib
from pathlib import Path

import yaml

import logratio
from logratio.cli.app import VERBS
from logratio.config import VERSION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
REQUIRED = {"cff-version", "message", "title", "authors"}
ALLOWED = REQUIRED | {
    *("abstract", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license", "license-url"),
    *(
        "preferred-citation",
        "references",
        "repository",
        "repository-artifact",
        "repository-code",
        "type",
        "url",
        "version",
    ),
}
"""Keys of the Citation File Format 1.2.0; others are refused by its schema."""


def test_the_changelog_begins_with_this_version_in_the_order_of_its_form():
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|unreleased)$", CHANGELOG, re.MULTILINE)
    assert versions[0][0] == logratio.__version__ == PROJECT["project"]["version"]
    assert CHANGELOG.count("\n## ") == len(versions) and [day for _, day in versions[1:]].count("unreleased") == 0
    kinds = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
    assert f"Recipes are of version {VERSION}." in CHANGELOG


def test_the_changelog_names_commands_that_exist():
    named = set(re.findall(r"`logratio ([a-z]+)", CHANGELOG))
    assert named <= {verb.name for verb in VERBS} and len(named) > 10


def test_the_citation_is_of_its_schema_and_of_this_version():
    assert REQUIRED <= set(CITATION) <= ALLOWED
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] in ("software", "dataset")
    assert CITATION["authors"] and all(author.keys() & {"name", "family-names"} for author in CITATION["authors"])
    assert CITATION["version"] == PROJECT["project"]["version"] and CITATION["license"] == PROJECT["project"]["license"]
    assert CITATION["abstract"] == PROJECT["project"]["description"]


def test_the_package_says_that_it_is_typed():
    """`make wheel` compares what the wheel holds with the folder, this file among it."""
    assert (Path(logratio.__file__).parent / "py.typed").read_bytes() == b""
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["logratio"]
