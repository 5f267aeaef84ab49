"""
What CI systems read of `pgsluice check`: the documents have the fields that their readers require, the GitHub action's own
script and the pre-commit hook run the program so that it does what they promise.
"""
import json
import re
import shlex
import urllib.parse

import pytest

from harness import PGSLUICE, ROOT, SANITIZERS, run

MIGRATIONS = {
    "1_create table.sql": "CREATE TABLE \"Posts\" (id serial PRIMARY KEY, \"user\" text, seen timestamp);\n",
    "2_größe.sql": "-- 100 % risky\nALTER TABLE orders\n  ADD COLUMN größe int, ADD COLUMN token uuid DEFAULT gen_random_uuid();\r\n",
    "3_waived.sql": "/* pgsluice: allow drop-table, agreed */ DROP TABLE orders;\nALTER TABLE orders ADD COLUMN c serial UNIQUE;\n"
                    "ALTER TABLE orders ADD COLUMN c serial UNIQUE;\n",
    "4_broken.sql": "ALTER TABLE orders FROBNICATE;\nDO $$ BEGIN EXECUTE 'DROP TABLE ' || x; END $$;\n",
    "5_goose.sql": "-- +goose Up\nDROP TABLE a, b;\n-- +goose Down\nDROP TABLE c;\n",
    "6_empty.sql": "SELECT 1;\n",
}


@pytest.fixture
def repository(folder):
    """Migrations in a folder, and a policy that has somebody who may waive."""
    place = folder / "db"
    place.mkdir()
    for name, text in MIGRATIONS.items():
        (place / name).write_text(text)
    (folder / "pgsluice.yaml").write_text("listen: [{address: 127.0.0.1, port: 1}]\nupstream: {host: 127.0.0.1, port: 2}\n"
                                          "policy: {waivers: {roles: [dba], require_reason: true}}\n")
    return folder


def check(repository, form, *options, paths=("db",)):
    done = run([PGSLUICE, "check", "-c", "pgsluice.yaml", "--role", "dba", "--format", form, *options, *paths], SANITIZERS,
               cwd=repository)
    assert done.returncode in (0, 1), done.stderr
    return done


def findings(repository):
    """(file, line, rule) of everything that is found, by the JSON."""
    found = []
    for line in check(repository, "json").stdout.splitlines():
        statement = json.loads(line)
        found += [(statement["file"], f["line"], f["rule"]) for f in statement["findings"]]
    return sorted(found)


# ---- SARIF: what the schema of 2.1.0 requires, and what GitHub's code scanning asks for on top --------------------------

LEVELS = {"none", "note", "warning", "error"}


def whole(number, least):
    return isinstance(number, int) and number >= least


def assert_rule(rule):
    assert re.fullmatch(r"[a-z][a-z-]*", rule["id"])
    for text in ("shortDescription", "fullDescription", "help"):
        assert rule[text]["text"].strip()
    assert rule["defaultConfiguration"]["level"] in LEVELS


def assert_result(result, rules, repository):
    assert result["message"]["text"].strip() and result["level"] in LEVELS
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert len(result["locations"]) == 1
    place = result["locations"][0]["physicalLocation"]
    uri = urllib.parse.urlsplit(place["artifactLocation"]["uri"])
    assert not uri.scheme and not uri.netloc and re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri.path), uri
    lines = (repository / urllib.parse.unquote(uri.path)).read_text().splitlines()
    region = place["region"]
    assert whole(region["startLine"], 1) and whole(region["startColumn"], 1)
    assert region["endLine"] >= region["startLine"] and region["endLine"] <= len(lines)
    assert region["endColumn"] > region["startColumn"] and region["endColumn"] <= len(lines[region["endLine"] - 1]) + 1
    assert region["snippet"]["text"].rstrip("\r") == lines[region["startLine"] - 1]
    for suppression in result.get("suppressions", []):
        assert suppression["kind"] in ("inSource", "external") and suppression["justification"]


def test_sarif(repository):
    document = json.loads(check(repository, "sarif").stdout)
    assert set(document) <= {"$schema", "version", "runs", "inlineExternalProperties", "properties"}
    assert document["version"] == "2.1.0" and document["$schema"].endswith("sarif-2.1.0.json")
    one, = document["runs"]
    driver = one["tool"]["driver"]
    assert driver["name"] == "pgsluice" and re.fullmatch(r"\d+\.\d+\.\d+.*", driver["semanticVersion"])
    assert one["columnKind"] in ("unicodeCodePoints", "utf16CodeUnits")
    names = [rule["id"] for rule in driver["rules"]]
    assert len(set(names)) == len(names) > 40
    for rule in driver["rules"]:
        assert_rule(rule)
    for result in one["results"]:
        assert_result(result, driver["rules"], repository)
    assert any("suppressions" in result for result in one["results"])
    told = sorted((urllib.parse.unquote(r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]),
                   r["locations"][0]["physicalLocation"]["region"]["startLine"], r["ruleId"]) for r in one["results"])
    assert told == findings(repository) and len(told) > 10


def test_sarif_of_nothing(repository):
    document = json.loads(check(repository, "sarif", paths=["db/6_empty.sql"]).stdout)
    assert document["runs"][0]["results"] == []


# ---- GitLab's code quality report ----------------------------------------------------------------------------------

def test_gitlab(repository):
    issues = json.loads(check(repository, "gitlab").stdout)
    for issue in issues:
        assert issue["description"].strip() and issue["check_name"]
        assert issue["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert not issue["location"]["path"].startswith(("/", "./")) and whole(issue["location"]["lines"]["begin"], 1)
    fingerprints = [issue["fingerprint"] for issue in issues]
    assert len(set(fingerprints)) == len(fingerprints)
    assert sorted((i["location"]["path"], i["location"]["lines"]["begin"], i["check_name"]) for i in issues) == \
        findings(repository)
    # a line that comes in front moves what follows: it is no new issue
    path = repository / "db" / "3_waived.sql"
    path.write_text("SELECT 1;\n\n" + path.read_text())
    assert sorted(i["fingerprint"] for i in json.loads(check(repository, "gitlab").stdout)) == sorted(fingerprints)


# ---- GitHub: the commands, and the action that prints them -----------------------------------------------------------

COMMAND = re.compile(r"::(error|warning|notice) file=([^,:]+),line=(\d+),endLine=\d+,col=(\d+),endColumn=\d+,title=([^:,]+)::(.+)")


def commands(text):
    found = []
    for line in text.splitlines():
        command = COMMAND.fullmatch(line)
        assert command, line
        kind, file, number, _, title, words = command.groups()
        assert not re.search(r"%(?!25|0A|0D|3A|2C)", words + file), line
        found.append((kind, urllib.parse.unquote(file), int(number), title.split(" ")[0]))
    return found


def test_github(repository):
    found = commands(check(repository, "github").stdout)
    assert sorted(one[1:] for one in found) == findings(repository)
    assert {kind for kind, *_ in found} == {"error", "warning", "notice"}


def action_script():
    """The script of the action's step, as GitHub hands it to bash, and the names of its variables."""
    text = (ROOT / "deploy" / "github-action" / "action.yml").read_text()
    step = text[text.index("      shell: bash"):]
    script = step[step.index("run: |\n") + len("run: |\n"):]
    variables = dict(re.findall(r"^        ([A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}$", step, re.M))
    inputs = set(re.findall(r"^  ([a-z-]+):$", text[text.index("inputs:"):text.index("runs:")], re.M))
    assert set(variables.values()) == inputs
    assert "${{" not in script  # an input would be run as part of the script
    return "".join(line[8:] + "\n" for line in script.splitlines()), variables


def run_action(repository, **inputs):
    script, variables = action_script()
    values = {"fail-on": "warn", "program": PGSLUICE, **{k.replace("_", "-"): v for k, v in inputs.items()}}
    environment = {name: values.get(of, "") for name, of in variables.items()}
    return run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], {**SANITIZERS, **environment},
               cwd=repository)


def test_the_action(repository):
    done = run_action(repository, files="db/2_größe.sql\n\ndb/1_create table.sql\n")
    assert done.returncode == 1 and {file for _, file, *_ in commands(done.stdout)} == \
        {"db/2_größe.sql", "db/1_create table.sql"}
    assert run_action(repository, files="db", fail_on="never").returncode == 0
    assert run_action(repository, files="db/1_create table.sql", fail_on="reject", server_version="15",
                      config="pgsluice.yaml").returncode == 0
    assert run_action(repository, files="db/6_empty.sql").returncode == 0
    assert run_action(repository, files="").returncode == 2                          # nothing to judge is a mistake
    assert run_action(repository, files="--format").returncode == 2                  # a file's name, not an option
    assert run_action(repository, files="$(touch made)").returncode == 2
    assert not (repository / "made").exists()
    assert run_action(repository, files="db", connect="host=127.0.0.1 port=1").returncode == 2


# ---- pre-commit ------------------------------------------------------------------------------------------------------

def test_the_hook(repository):
    """pre-commit appends the commit's files to `entry`, and takes any exit code but 0 for a failure."""
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    hook = dict(re.findall(r"^(?:- |  )([a-z_]+): (.+)$", text, re.M))
    assert hook["language"] == "system" and hook["types"] == "[sql]" and hook["id"] and hook["name"]
    assert hook["require_serial"] == "true"  # one run, one report
    program, *options = shlex.split(hook["entry"])
    assert program == "pgsluice"
    risky = run([PGSLUICE, *options, "db/2_größe.sql", "db/6_empty.sql"], SANITIZERS, cwd=repository)
    assert risky.returncode == 1 and "volatile-default" in risky.stdout and "gen_random_uuid" in risky.stdout
    assert run([PGSLUICE, *options, "db/6_empty.sql"], SANITIZERS, cwd=repository).returncode == 0
