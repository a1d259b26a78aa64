"""What waits for real time is named, and few: each such test says by the mark `waits` what it waits for."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.weir import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_SECONDS = 0.3
MOST = 30  # tests; parametrised ones count once
SLEEPS = ("asyncio.sleep", "time.sleep")
FILES = sorted((ROOT / "tests").rglob("test_*.py"))


class Waiting(NamedTuple):
    name: str
    marks: dict[str, str]  # with their argument, if they have one


def waiting_tests(path: Path) -> Iterator[Waiting]:
    """Those that sleep long where it is written, or call a function of their file that does."""
    tree = ast.parse(path.read_text())
    constants = dict(pair for node in tree.body for pair in _constant(node))
    whole = [mark for node in tree.body if isinstance(node, ast.Assign) for mark in _module_marks(node)]
    functions = list(_functions(tree))
    sleepers = {each.name for each in functions if _longest(each, constants) >= LONG_SECONDS}
    for each in functions:
        calls = {ast.unparse(call.func) for call in ast.walk(each) if isinstance(call, ast.Call)}
        if each.name.startswith("test_") and (each.name in sleepers or calls & sleepers):
            yield Waiting(f"{path.stem}::{each.name}", dict(map(_mark, [*whole, *each.decorator_list])))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield each


def _constant(node: ast.stmt) -> Iterator[tuple[str, float]]:
    match node:
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=float() | int() as value)):
            yield name, value


def _module_marks(node: ast.Assign) -> list[ast.expr]:
    is_marks = ast.unparse(node.targets[0]) == "pytestmark"
    return [*(node.value.elts if isinstance(node.value, ast.List) else [node.value])] if is_marks else []


def _mark(decorator: ast.expr) -> tuple[str, str]:
    match decorator:
        case ast.Call(func=func, args=[ast.Constant(value=str() as why), *_]):
            return ast.unparse(func).rpartition(".")[2], why
    return ast.unparse(decorator).partition("(")[0].rpartition(".")[2], ""


def _longest(function: ast.AST, constants: dict[str, float]) -> float:
    """Seconds, where a number is written or a constant of the file."""
    seconds = [0.0]
    for call in ast.walk(function):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in SLEEPS:
            match call.args[0]:
                case ast.Constant(value=float() | int() as value):
                    seconds.append(value)
                case ast.Name(id=name):
                    seconds.append(constants.get(name, 0.0))
    return max(seconds)


def test_who_waits_says_for_what() -> None:
    found = [test for path in FILES for test in waiting_tests(path) if "moved" not in test.marks]

    assert [test.name for test in found if not test.marks.get("waits")] == []
    assert len(found) <= MOST


@pytest.mark.parametrize(
    ("text", "waits"),
    [
        ("LONG = 0.5\nasync def test_a():\n    await asyncio.sleep(LONG)", [""]),
        ("def test_a():\n    time.sleep(0.29)", []),
        ("@pytest.mark.waits('for a beat')\ndef test_a():\n    time.sleep(1)", ["for a beat"]),
        ("async def one():\n    await asyncio.sleep(1)\nasync def test_a():\n    await one()", [""]),
        ("class TestIt:\n    async def test_a(self):\n        await asyncio.sleep(2)", [""]),
    ],
)
def test_waits_are_seen(text: str, waits: list[str], tmp_path: Path) -> None:
    path = tmp_path / "test_it.py"
    path.write_text(text)

    assert [test.marks.get("waits", "") for test in waiting_tests(path)] == waits
