"""What compiling asks of the source, seen before a build of minutes shows it (docs/decisions/0008)."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = sorted(Path(__file__).parents[2].joinpath("proxy").rglob("*.py"))


def imported_for_types(tree: ast.Module) -> set[str]:
    """Names that are there for a type checker only."""
    return {
        (alias.asname or alias.name).partition(".")[0]
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for alias in statement.names
    }


def modules_in_fields(tree: ast.Module) -> Iterator[str]:
    """`asyncio` of a NamedTuple's `transport: asyncio.Transport`."""
    for class_ in ast.walk(tree):
        if isinstance(class_, ast.ClassDef) and any(
            ast.unparse(base) == "NamedTuple" for base in class_.bases
        ):
            for field in class_.body:
                if isinstance(field, ast.AnnAssign):
                    for part in ast.walk(field.annotation):
                        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                            yield part.value.id


def test_fields_of_tuples_name_no_module_that_is_for_types_only():
    """Compiled, the module is looked up when the class is made: a KeyError at import."""
    for module in MODULES:
        tree = ast.parse(module.read_text())

        assert not set(modules_in_fields(tree)) & imported_for_types(tree), module
