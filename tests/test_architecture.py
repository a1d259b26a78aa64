"""The code keeps to what docs/architecture.md says of it; that page, CONTRIBUTING.md and docs/files.md to the code."""

from __future__ import annotations

import ast
import itertools
import os
import re
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from benchmarks import trace
from proxy import is_compiled, phases
from proxy.cli import main
from proxy.config.settings import Settings
from tests.support.reads import Reads

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text()
SOURCES = sorted((ROOT / "proxy").rglob("*.py"))
SCRIPTS = sorted((ROOT / "proxy").rglob("*.lua"))
CHANGES = PAGE.partition("## Where a change goes\n")[2]
RECIPES = (ROOT / "CONTRIBUTING.md").read_text()
LIST = "\n`proxy/`\n"  # the list of docs/files.md begins so
NAMED = re.compile(r"`([\w./*-]+(?:\.(?:cjs|css|html|js|json|lua|md|py|sh|toml|txt|ya?ml)|/))`")
NAMES, FILE = r"((?:`\w+`(?:, | and )?)+)", r"`([\w./-]+\.(?:lua|py|toml|yaml))`"
# `this` and `that` in `file.py`; `file.py` (`this`)
SPOKEN_OF = re.compile(rf"{NAMES} (?:in|of) {FILE}|{FILE} \({NAMES}")
# What the trace may come to: half of it was put where its data are (94 calls, 23 files, 52 changes before).
CALLS_MAX, FILES_MAX, CHANGES_MAX = 64, 17, 31


def short(path):
    return str(path.relative_to(ROOT))


@cache
def tree_of(path):
    return ast.parse(path.read_text())


@pytest.fixture(autouse=True, scope="module")
def _trees():
    """Hundreds of thousands of objects, which would be in the way of whoever collects garbage later."""
    yield
    tree_of.cache_clear()
    own_reads.cache_clear()


# --- words ---


def test_no_file_name_occurs_twice():
    """But for the sections of the config, whose files carry the names of settings."""
    names = Counter(
        path.name for path in SOURCES if path.name != "__init__.py" and path.parent.name != "sections"
    )

    assert [name for name, count in names.items() if count > 1] == []


def type_names(path):
    """Of classes, and of aliases of types, which stand in a module and are written as classes are."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.ClassDef():
                yield node.name
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_alias(name, value):
                yield name


def is_alias(name, value):
    is_variable = isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec")
    return re.fullmatch(r"[A-Z]\w*[a-z]\w*", name) and not is_variable


def test_no_type_has_the_name_of_another():
    names = Counter(name for path in SOURCES for name in type_names(path))

    assert [name for name, count in names.items() if count > 1] == []


def found(name):
    """What a page calls so: a file of `proxy/`, or one of the whole."""
    return [*(ROOT / "proxy").glob(name), *ROOT.glob(name)]


@pytest.mark.parametrize("page", [PAGE, RECIPES], ids=["architecture", "contributing"])
def test_files_that_the_pages_name_are_there(page):
    named = NAMED.findall(page)

    assert len(named) > 30
    assert [name for name in named if not found(name)] == []


@pytest.mark.parametrize("page", [PAGE, RECIPES], ids=["architecture", "contributing"])
def test_what_the_pages_name_in_a_file_is_in_it(page):
    """`refusal` in `policy/edge.py`: a newcomer searches for it."""
    spoken = [
        (name, before or behind)
        for names, before, behind, more in SPOKEN_OF.findall(page)
        for name in re.findall(r"`(\w+)`", names or more)
    ]

    assert len(spoken) > 5
    assert [
        f"{name} in {file}"
        for name, file in spoken
        if not re.search(rf"\b{name}\b", "".join(each.read_text() for each in found(file)))
    ] == []


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS], ids=short)
def test_pages_that_the_code_names_are_there(path):
    named = re.findall(r"(?<![\w/.])docs/[\w./-]*\w", path.read_text())

    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", SOURCES, ids=short)
def test_modules_that_the_code_points_to_are_there(path):
    """`floor.module`, if it is no setting."""
    pointed = re.findall(r"`([a-z_]+)\.([a-z_0-9]+)`", path.read_text())
    settings = (ROOT / "docs/configuration.md").read_text()
    floors = [(floor, module) for floor, module in pointed if (ROOT / "proxy" / floor).is_dir()]

    assert [
        f"{floor}.{module}"
        for floor, module in floors
        if not (ROOT / f"proxy/{floor}/{module}.py").exists() and f"{floor}.{module}" not in settings
    ] == []


def test_docstrings_are_sentences():
    """They begin with a capital, or with a name as it is written, and end with a stop."""
    odd = []
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = (ast.get_docstring(node) or "A.").split("\n\n")[0]
                if not re.fullmatch(r"[A-Z0-9`\"'/(<.][\s\S]*[.:]", first):
                    odd.append(f"{short(path)}: {first}")

    assert odd == []


# Folders and files whose docstrings and reasons are written anew by their next change.
def test_docstrings_have_a_subject_or_a_verb():
    """What begins with one of these words hangs on the name above it: "Of answers." or "With each beat."."""
    hanging = re.compile(r"(?:Of|By|With|For|To|As|In|At|On|Without|Until|Also|And|Or|Else)\b")
    fragments = [
        f"{short(path)}: {node.name}: {text}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and hanging.match(text := ast.get_docstring(node) or "")
    ]

    assert fragments == []


def test_reasons_are_written_out():
    """Who reads a line has not read the one that "the same" means."""
    vague = re.compile(r"#\s*(?:noqa|type: ignore|pragma)\b.*(?:- |# )(?:the same|as above|as said|hot)$")
    files = [*SOURCES, *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tests").rglob("*.py")]

    assert [
        f"{short(path)}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if vague.search(line)
    ] == []


def test_what_checks_are_told_to_pass_over_has_its_reason():
    """Beside each `noqa`, `type: ignore` and `pragma`, in the code and in what measures and tests it."""
    told = re.compile(r"#\s*(?:noqa|type: ignore|pragma)\b(.*)")
    reasoned = re.compile(r": [A-Z0-9, ]+ - \S.*|\[[a-z, -]+\]\s+# \S.*|: no (?:cover|branch) - \S.*")
    measuring = [path for path in (ROOT / "benchmarks").rglob("*.py") if "out" not in path.parts]
    files = [*SOURCES, *measuring, *(ROOT / "tests").rglob("*.py")]
    bare = [
        f"{short(path)}: {line.strip()}"
        for path in files
        for line in path.read_text().splitlines()
        if (found := told.search(line)) and not reasoned.fullmatch(found[1]) and path != Path(__file__)
    ]

    assert bare == []


# --- nothing is there for tests alone ---

# Who reads what nothing in proxy/ reads, by the end of its name.
READ_BY_OTHERS = {
    "connection_lost": "asyncio calls what a protocol is told",
    "eof_received": "asyncio calls what a protocol is told",
    "pause_writing": "asyncio calls what a protocol is told",
    "resume_writing": "asyncio calls what a protocol is told",
    "AdminConnection.handle_error": "aiohttp calls it",
    "Frontend.pre_shutdown": "aiohttp calls it",
    "FrontendRunner._make_server": "aiohttp calls it",
    "FrontendRunner._cleanup_server": "aiohttp calls it",
    "KeyVerbs.grant": "asked for by the verb's name",
    "KeyVerbs.block": "asked for by the verb's name",
    "_Commands.main": "click calls it",
    "_Loader.compose_node": "PyYAML calls it",
    "_Generator.function_before_schema": "pydantic calls it",
    "Terminal.on_broken_pipe": "rich calls it",
    "emit": "logging calls it",
    "_Raced._connection_arguments": "redis-py calls it",
    "_BoundedStream.at_eof": "redis-py calls it",
    "_BoundedParser.on_connect": "redis-py calls it",
    "Connecting.do_handshake": "ssl's objects have it, and asyncio calls it",
    "aiohttp_app.protect": "users of the middleware call it",
    "fastapi_routes.charged": "users of the middleware call it",
    "Limiter.from_file": "users of the middleware call it",
    "Limiter.collector": "users of the middleware call it",
    "phases.EVENTS": "the drawing in docs/architecture.md is held to it",
}
REGISTERED = re.compile(r"main\.command|(?:field|model)_validator")  # what these decorate, they call
# Parameters that only tests give: what stands for the world is put in by them.
SEAMS = {
    "assemble(metrics)": "a worker has its own",
    "assemble(access_log)": "a worker has its own",
    "assemble(store)": "the bench has one that it holds back",
    "assemble(clock)": "the bench moves it",
    "assemble(dial)": "the bench has no sockets",
    "load(environ)": "else the process's own",
    "examine(environ)": "else the process's own",
    "watch(recheck)": "long where the system must tell, short where it cannot",
    "Budget(size)": "a full one is smaller than 64 MiB",
    "WaitingRoom(most)": "a full one is smaller than 10 000",
    "RedisStore(now)": "the simulation moves it",
    "Balancer(draw)": "draws that are known",
    "usable_processors(root)": "a made-up /sys/fs/cgroup",
    "AccessLog(fd)": "a pipe in place of stdout",
    "configure(fd)": "a pipe in place of stderr",
    "Traces(chance)": "draws that are known",
    "LineWriter(queue_bytes)": "a full queue that is small",
}


@cache
def own_reads():
    return Reads(ROOT, SOURCES)


def test_everything_is_read_by_what_runs():
    """Functions, methods, classes and constants that nothing but tests would use are not there."""
    unread = [
        str(definition)
        for definition in own_reads().unread()
        if not any(REGISTERED.search(ast.unparse(each)) for each in decorators(definition.node))
    ]

    assert [name for name in unread if not name.endswith(tuple(READ_BY_OTHERS))] == []
    assert [end for end in READ_BY_OTHERS if not any(name.endswith(end) for name in unread)] == []


def decorators(node):
    return getattr(node, "decorator_list", [])


def test_parameters_that_only_tests_give_are_known():
    assert set(own_reads().never_given()) == set(SEAMS)


def opening_of(path):
    """The text that a file opens with."""
    if path.suffix == ".lua":
        lines = itertools.takewhile(lambda line: line.startswith("-- "), path.read_text().splitlines())
        return " ".join(line.removeprefix("-- ") for line in lines)
    return ast.get_docstring(tree_of(path)) or ""


def head_of(path):
    """The first sentence of a file."""
    text = opening_of(path)
    return (
        re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0]
        .rstrip(".")
        .replace("|", "\\|")
    )


def listed():
    """Every file that has something in it, folder by folder, with its first sentence."""
    files = sorted(path for path in [*SOURCES, *SCRIPTS] if path.name != "__init__.py")
    for folder in sorted({path.parent for path in files}):
        yield f"\n`{short(folder)}/`\n\n| file | what it is |\n|---|---|"
        yield from (f"| `{path.name}` | {head_of(path)} |" for path in files if path.parent == folder)


def hold_part(page, opening, wanted, until=None):
    """What the page has behind `opening` is what is wanted; or it is written anew."""
    path = ROOT / "docs" / page
    before, _, behind = path.read_text().partition(opening)
    now, closing, rest = behind.partition(until) if until else (behind, "", "")
    if os.environ.get("WEIR_WRITE_DOCS"):
        path.write_text(before + opening + wanted + closing + rest)
        return

    assert now == wanted


def test_page_lists_every_file():
    """WEIR_WRITE_DOCS=1 python -m pytest tests/test_architecture.py      writes the list anew."""
    hold_part("files.md", LIST, "\n".join([*listed(), ""]).removeprefix(LIST))


# --- where a change goes ---


def places():
    """Whatever somebody may want to change: a folder, a module above them, a command, a block of settings, a page."""
    for top in ("proxy", "deploy", "tests"):
        folders = [path for path in (ROOT / top).iterdir() if path.is_dir() and path.name[0] not in "_."]
        yield from (f"{short(path).removeprefix('proxy/')}/" for path in folders)
    yield from (path.name for path in (ROOT / "proxy").glob("*.py") if not path.name.startswith("__"))
    yield from (f"weir {name}" for name, command in main.commands.items() if not command.hidden)
    yield from (f"`{name}`" for name in Settings.model_fields)
    yield from (f"({page.name}" for page in (ROOT / "docs").glob("*.md"))


def test_whatever_somebody_wants_to_change_has_its_row():
    assert [place for place in places() if place not in CHANGES] == []


# --- floors ---


def test_floors_are_those_that_imports_are_held_to():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    section = PAGE.partition("## Floors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)

    assert [row.replace("\\|", "|") for row in rows] == contract["layers"]


# --- phases ---


def drawn():
    """Each phase and what may follow; `close`, which may follow in all of them, would hide the rest."""
    for number, phase in enumerate(phases.PHASES):
        for event, following in phases.NEXT[number].items():
            if event != phases.CLOSE:
                yield f"    {phase} --> {phases.PHASES[following]}: {phases.EVENTS[event]}"


def test_drawing_of_the_phases_is_the_table():
    """WEIR_WRITE_DOCS=1 python -m pytest tests/test_architecture.py      draws it anew."""
    hold_part(
        "architecture.md", "stateDiagram-v2\n", "\n".join([*drawn(), "    over --> [*]", ""]), until="```"
    )


# --- the record does not steer ---

TOLD = {"finished", "server", "source", "status", "redacted_status", "bytes_in", "fault", "outcome", "exempt"}
STORY = [
    ROOT / "proxy" / f"{name}.py"
    for name in ("gateway", "mishaps", "own_answers", "filtering", "settlement", "waiting", "tunnelling")
]


@pytest.mark.parametrize("path", STORY, ids=short)
def test_what_is_only_told_of_an_exchange_is_never_asked(path):
    """The story sets these fields of the record and reads none of them."""
    asked = [
        f"{node.lineno}: {node.attr}"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute)
        and node.attr in TOLD
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("self", "exchange")
    ]

    assert asked == []


# --- what it costs to follow a request ---


@pytest.mark.skipif(is_compiled(), reason="what is compiled makes no calls that Python could see")
async def test_a_plain_request_is_easy_to_follow():
    """The page tells the figures of the trace, which are within their bounds."""
    found = trace.figures(await trace.traced())

    assert "{} calls, {} files, {} changes of file".format(*found) in PAGE
    assert found.calls <= CALLS_MAX
    assert found.files <= FILES_MAX
    assert found.changes <= CHANGES_MAX
