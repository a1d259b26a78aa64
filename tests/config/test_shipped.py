"""The shipped files and the reference of settings hold what the tree holds."""

import json
import re
from pathlib import Path

import pytest

from proxy.config.catalogue import entries
from proxy.config.document import read
from proxy.config.environment import variables
from proxy.config.loader import load, loads
from proxy.config.settings import Settings

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "configuration.md").read_text()
WEIR_YAML = ROOT / "config" / "weir.yaml"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_file_is_good(path):
    assert load(path, {}).limits


def test_weir_yaml_says_the_defaults():
    """Whoever copies it changes nothing."""
    assert load(WEIR_YAML, {}) == loads('upstream: {servers: ["http://127.0.0.1:9000"]}', "f", {})


def test_weir_yaml_has_every_setting():
    """What stands in an entry of a list that is empty by default stands in a comment."""
    text = WEIR_YAML.read_text()
    values = read(text).values

    for entry in entries():
        path = tuple(0 if part == "[]" else part for part in re.findall(r"\[\]|\w+", entry.path))
        if path not in values:
            name = entry.path.rpartition(".")[2]
            assert re.search(rf"^\s*#.*\b{name}:", text, re.MULTILINE), entry.path


def test_weir_yaml_marks_what_waits_for_a_restart():
    assert (
        WEIR_YAML.read_text().count("(restart)") == 10
    )  # itself, listen, admin.listen, admin.probes, workers, prefix, key_secret, program, access, traces


def row(entry):
    if entry.says:
        default = entry.says
    elif entry.is_required:
        default = "required"
    else:
        default = f"`{entry.default if isinstance(entry.default, str) else json.dumps(entry.default)}`"
    return f"| `{entry.path}` | {default} | {entry.help}{' (restart)' if entry.is_restart else ''} |"


def test_reference_has_every_setting_with_its_default_and_nothing_else():
    """One row each, in the words of the tree."""
    told = [
        line
        for line in REFERENCE.splitlines()
        if re.match(r"\| `[a-z_]+(\.|\[|`)", line) and line.count("|") == 4
    ]
    told = [line for line in told if re.match(r"\| `(\w|\.|\[\])+` \|", line)]

    assert sorted(told) == sorted(row(entry) for entry in entries() if not entry.is_block)


def test_reference_names_only_variables_that_exist():
    named = {name for name in re.findall(r"^(WEIR_\w+)=", REFERENCE, re.MULTILINE)}

    assert named
    assert named <= set(variables())


def test_examples_of_the_reference_are_good(tmp_path):
    (tmp_path / "weir-token").write_text("token")
    environ = {"REDIS_PASSWORD": "password"}
    for example in re.findall(r"```yaml\n(.*?)```", REFERENCE, re.DOTALL):
        servers = "" if "upstream" in example else 'upstream: {servers: ["http://a"]}\n'
        here = example.replace("/run/secrets", str(tmp_path))
        assert loads(servers + here, "example", environ)


def test_schema_of_the_file_has_every_block():
    """What `weir schema` will print can be made of the tree, defaults spelled as in YAML."""
    schema = Settings.model_json_schema()

    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["$defs"]["DownstreamTimeouts"]["properties"]["head"]["default"] == "10s"
