"""A YAML text as plain data, with the place of every key and value.

Read as YAML 1.2 reads it: `on`, `yes` and `off` are words, `010`, `0x1F` and `15:30` are text, a key that is
there twice is a mistake. Numbers are whole; what else looks like one is text, for the setting's own parser to
judge. Messages repeat nothing of the text but names, since a value may be a secret. Knows nothing of settings
or files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

from proxy.config.odd_letters import odd_blank
from proxy.config.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

DEPTH_MAX = 24  # twice what the deepest setting needs
VALUES_MAX = 20_000  # names included, aliases followed: 500 limits with all that one may say have 15 000

_MERGE = "tag:yaml.org,2002:merge"
_TOO_DEEP = f"nested more than {DEPTH_MAX} levels deep"
_TOO_MANY = f"holds more than {VALUES_MAX} values"
_TAGGED = "tags (!) have no meaning here; quotes make text"
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = re.compile(r"~|null|Null|NULL|")
_SURROGATE = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")

_ODD_IN_ANCHOR = re.compile(r"scanning an (alias|anchor).*expected alphabetic.* found '(.)'", re.DOTALL)

# PyYAML's words for what people do, in ours.
_PROBLEMS = (
    (r"character '\\t' that cannot start", "a tab cannot indent: use spaces"),
    (r"character '(.)' that cannot start", "a value that begins with this character must stand in quotes"),
    (r"mapping values are not allowed here", "a colon and a space within a value: put the value in quotes"),
    (r"could not find expected ':'", "a colon is missing after the name"),
    (r"expected <block end>", "the indentation does not fit, or a quote or comma is out of place"),
    (r"expected ',' or '[\]}]'", "a comma or a closing bracket is missing"),
    (r"found unexpected end of stream", "a quote is opened but not closed"),
    (r"expected the node content", "a value is missing"),
    (r"expected a single document", "a second document begins here: one file holds one config"),
    (r"undefined alias", "the alias is used before its anchor is defined"),
    (r"duplicate anchor", "the anchor is defined twice"),
    (r"unknown escape character", "unknown escape in double quotes: write \\\\, or use single quotes"),
    (r"unacceptable character|special characters", "a control character is not allowed"),
    (r"undefined tag handle|while (?:scanning|parsing) a tag", _TAGGED),
    (r"escape sequence of", "unknown escape in double quotes"),
)  # fmt: skip


class Mark(NamedTuple):
    line: int
    column: int


@dataclass(slots=True)
class Document:
    data: Any = None
    values: dict[tuple[str | int, ...], Mark] = field(default_factory=dict)
    keys: dict[tuple[str | int, ...], Mark] = field(default_factory=dict)
    mistakes: list[tuple[Mark, tuple[str | int, ...], str]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """Composes nodes; what they mean is decided here, not by YAML 1.1."""

    yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("<<"))]}  # noqa: RUF012 - PyYAML's own shape

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._count += 1
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's
        if self._depth > DEPTH_MAX:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=event.start_mark)
        if self._count > VALUES_MAX:
            raise yaml.MarkedYAMLError(problem=_TOO_MANY, problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=_TAGGED, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read(text: str) -> Document:
    """Never raises for what the text says: mistakes are within the document."""
    document = Document()
    try:
        loader = _Loader(text)
    except ReaderError as error:
        before = text[: error.position]
        mark = Mark(before.count("\n") + 1, error.position - before.rfind("\n"))
        document.mistakes.append((mark, (), "not valid YAML: a control character is not allowed"))
        return document
    try:
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        message = _syntax(error) + _anchor_meant(error, loader.anchors) + _blank_there(error, text)
        document.mistakes.append((_mark(error.problem_mark or error.context_mark), (), message))
    else:
        if node is not None:
            document.data = _Builder(document).value(node, ())
    if document.data is None:
        document.values.clear()  # nothing stands anywhere
    return document


def _syntax(error: yaml.MarkedYAMLError) -> str:
    if error.problem in (_TOO_DEEP, _TOO_MANY, _TAGGED):
        return str(error.problem)
    text = f"{error.context or ''} {error.problem or ''}"
    if found := _ODD_IN_ANCHOR.search(text):
        return f"not valid YAML: the name of an {found[1]} cannot have {found[2]!a} in it"
    for pattern, message in _PROBLEMS:
        if re.search(pattern, text):
            return f"not valid YAML: {message}"
    return "not valid YAML: " + re.sub(r"'[^']*'|\"[^\"]*\"", "something", error.problem or "cannot be read")


def _anchor_meant(error: yaml.MarkedYAMLError, anchors: Iterable[str]) -> str:
    """The anchor that an unknown alias nearly names; the alias itself may be a secret."""
    alias = re.search("undefined alias '(.*)'", error.problem or "")
    meant = nearest(alias[1], anchors) if alias else None
    return f"; did you mean *{meant}?" if meant else ""


def _blank_there(error: yaml.MarkedYAMLError, text: str) -> str:
    """What is no space and looks like one, as web pages have it, in the lines that the mistake is about."""
    lines = text.split("\n")
    for mark in filter(None, (error.context_mark, error.problem_mark)):
        for number in range(max(mark.line - 1, 0), min(mark.line + 1, len(lines))):
            blank = odd_blank(lines[number])
            if blank is not None:
                return f"; line {number + 1} has {blank}, which is no space"
    return ""


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)


class _Builder:
    """Nodes to data. An alias is followed as often as it is used, within bounds."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._above: list[Node] = []  # an alias to one of these would never end
        self._count = 0

    def value(self, node: Node, path: tuple[str | int, ...]) -> Any:
        mark = _mark(node.start_mark)
        self._document.values.setdefault(path, mark)
        self._count += 1
        if self._count > VALUES_MAX:
            if self._count == VALUES_MAX + 1:
                self._wrong(mark, (), f"{_TOO_MANY} once its aliases are followed")
            return None
        if any(node is above for above in self._above):
            self._wrong(mark, path, "the alias stands within its own anchor")
            return None
        if isinstance(node, ScalarNode):
            text = self._text(node, path)
            return text if node.style else scalar(text)
        self._above.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.value(child, (*path, index)) for index, child in enumerate(node.value)]
            assert isinstance(node, MappingNode)
            return self._mapping(node, path)
        finally:
            self._above.pop()

    def _mapping(self, node: MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        merged: list[tuple[Node, Node]] = []
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            if key_node.tag == _MERGE:
                merged.extend(self._merged(value_node, path))
                continue
            if not isinstance(key_node, ScalarNode):
                self._wrong(mark, path, "a name must be text, not a list or a block")
                continue
            key = self._text(key_node, path)
            if key in data:
                first = self._document.keys[(*path, key)].line
                self._wrong(mark, (*path, key), f"is there twice, first in line {first}")
                continue
            if not key:
                self._wrong(mark, path, "a name is missing before the colon")
                continue
            self._document.keys[(*path, key)] = mark
            data[key] = self.value(value_node, (*path, key))
        for key_node, value_node in merged:
            if isinstance(key_node, ScalarNode) and key_node.value not in data:
                self._document.keys[(*path, key_node.value)] = _mark(key_node.start_mark)
                data[key_node.value] = self.value(value_node, (*path, key_node.value))
        return data

    def _text(self, node: ScalarNode, path: tuple[str | int, ...]) -> str:
        """JSON writes a character beyond the first 65536 as two escapes, which YAML takes for two."""
        text: str = node.value
        if not _SURROGATE.search(text):
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            self._wrong(_mark(node.start_mark), path, "an escape stands for half a character")
            return _SURROGATE.sub("?", text)

    def _merged(self, node: Node, path: tuple[str | int, ...]) -> list[tuple[Node, Node]]:
        """What `<<` brings in: of one block, or of a list of blocks, the first of which wins."""
        blocks = node.value if isinstance(node, SequenceNode) else [node]
        pairs: list[tuple[Node, Node]] = []
        for block in blocks:
            mark = _mark(block.start_mark)
            if not isinstance(block, MappingNode):
                self._wrong(mark, path, "<< takes the alias of a block")
            elif any(block is above for above in self._above):
                self._wrong(mark, path, "the alias stands within its own anchor")
            else:
                self._above.append(block)
                own = [pair for pair in block.value if pair[0].tag != _MERGE]
                pairs += own
                for key_node, value_node in block.value:
                    if key_node.tag == _MERGE:
                        pairs += self._merged(value_node, path)
                self._above.pop()
        return pairs

    def _wrong(self, mark: Mark, path: tuple[str | int, ...], message: str) -> None:
        self._document.mistakes.append((mark, path, message))


def scalar(text: str) -> Any:
    """A word without quotes (YAML 1.2 core schema): null, true, false, a whole number or text."""
    if text in _WORDS:
        return _WORDS[text]
    if _NULL.fullmatch(text):
        return None
    return int(text) if _INTEGER.fullmatch(text) else text
