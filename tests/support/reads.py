"""What proxy/ defines and what of it proxy/ itself reads, found in its syntax trees.

A name is read where a program would look it up: in its own module, where another module imports it, as an
attribute of a module, or, for a method, as an attribute of anything else. What a definition reads of itself
does not count.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
DEFINITIONS = *FUNCTIONS, ast.ClassDef
ANYWHERE = 99  # a starred argument may fill each parameter


class Definition(NamedTuple):
    module: str  # with dots
    owner: str  # the class of a method, or ""
    name: str
    node: ast.stmt

    def __str__(self):
        return ".".join(part for part in (self.module, self.owner, self.name) if part)

    def holds(self, module, node):
        return module == self.module and self.node.lineno <= node.lineno <= (self.node.end_lineno or 0)


class Given(NamedTuple):
    """What a call gives: so many by position, others by name."""

    places: int
    names: frozenset[str | None]


class Reads:
    def __init__(self, root: Path, files):
        self.trees = {
            ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
                path.read_text()
            )
            for path in files
        }

    @cached_property
    def definitions(self):
        return [found for module, tree in self.trees.items() for found in _definitions(module, "", tree.body)]

    def unread(self):
        """The definitions that nothing here reads; dunders are Python's."""
        return [
            each for each in self.definitions if not each.name.startswith("__") and not self._is_read(each)
        ]

    def _is_read(self, definition):
        found = self._of_objects[definition.name] if definition.owner else self._of_modules[definition[::2]]
        return any(not definition.holds(module, node) for module, node in found)

    @cached_property
    def _of_objects(self):
        """By attribute: where it is read of something that is no module of ours."""
        found = defaultdict(list)
        for module, tree in self.trees.items():
            modules = self._modules_in(module)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    if not (isinstance(node.value, ast.Name) and node.value.id in modules):
                        found[node.attr].append((module, node))
        return found

    @cached_property
    def _of_modules(self):
        """By module and name."""
        found = defaultdict(list)
        for module, tree in self.trees.items():
            modules = self._modules_in(module)
            for node in ast.walk(tree):
                match node:
                    case ast.Name(id=name, ctx=ast.Load()):
                        found[module, name].append((module, node))
                    case ast.ImportFrom(module=str(source), names=names):
                        for alias in names:
                            found[source, alias.name].append((module, node))
                    case ast.Attribute(value=ast.Name(id=local), attr=name) if local in modules:
                        found[modules[local], name].append((module, node))
        return found

    def _modules_in(self, module):
        """Our modules by the names that this one has for them."""
        return {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(self.trees[module])
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if f"{node.module}.{alias.name}" in self.trees
        }

    # --- parameters ---

    def never_given(self):
        """Parameters with a default that no call of ours gives, of functions that are called here."""
        for definition in self.definitions:
            if isinstance(definition.node, FUNCTIONS):
                is_made = definition.name == "__init__"
                calls = self._calls[definition.owner if is_made else definition.name]
                for place, name in _optional(definition.node, is_method=bool(definition.owner)):
                    if calls and not any(place < call.places or name in call.names for call in calls):
                        yield (
                            f"{definition.owner or definition.name}({name})"
                            if is_made or not definition.owner
                            else (f"{definition.owner}.{definition.name}({name})")
                        )

    @cached_property
    def _calls(self):
        """By the name that is called, or handed on with its arguments as to `partial`."""
        found = defaultdict(list)
        for tree in self.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    names = frozenset(keyword.arg for keyword in node.keywords)
                    for at, called in enumerate([node.func, *node.args]):
                        found[_last_name(called)].append(Given(_count(node.args[at:]), names))
        return found


def _definitions(module, owner, body):
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield Definition(module, owner, node.name, node)
            case ast.ClassDef():
                yield Definition(module, "", node.name, node)
                yield from _definitions(module, node.name, node.body)
            case ast.If():
                yield from _definitions(module, owner, [*node.body, *node.orelse])
            case ast.Assign() | ast.AnnAssign() if not owner:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for part in ast.walk(target):
                        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                            yield Definition(module, "", part.id, node)


def _optional(function, *, is_method):
    """Where each stands that has a default, and its name."""
    is_static = any(ast.unparse(each) == "staticmethod" for each in function.decorator_list)
    skipped = is_method and not is_static
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    for at, parameter in enumerate(positional):
        if at >= len(positional) - len(given.defaults):
            yield at - skipped, parameter.arg
    for parameter, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        if default is not None:
            yield ANYWHERE, parameter.arg


def _last_name(node):
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return None


def _count(arguments):
    return ANYWHERE if any(isinstance(each, ast.Starred) for each in arguments) else len(arguments)
