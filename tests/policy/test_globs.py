from __future__ import annotations

import re
import time
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.globs import AT_ONCE_MAX, paths_pattern, stem, value_pattern


def matches(glob, path):
    return paths_pattern([glob]).fullmatch(path.encode()) is not None


@pytest.mark.parametrize(
    ("glob", "whole"),
    [
        ("/", b""),
        ("/login", b"/login"),
        ("/Login/", b"/Login"),
        ("/api/v1/*", b"/api/v1"),
        ("/api/v*/x", b"/api"),
        ("/**/x", b""),
    ],
)
def test_stem_is_what_every_path_begins_with(glob, whole):
    assert stem(glob) == whole
    assert stem(glob, wide=True) == whole.lower()


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/", "/"),
        ("/api", "/api"),
        ("/api/*", "/api/entities"),
        ("/api/*", "/api/"),
        ("/api/*/lock", "/api/10657/lock"),
        ("/api/v*.json", "/api/v1.2.json"),
        ("/api/**", "/api"),
        ("/api/**", "/api/"),
        ("/api/**", "/api/entities/10657"),
        ("/**", "/"),
        ("/**", "/a/b"),
        ("/**/lock", "/lock"),
        ("/**/lock", "/a/b/lock"),
        ("/a/**/z", "/a/z"),
        ("/a/**/z", "/a/b/c/z"),
        ("/a/**/m/**/z", "/a/m/z"),
        ("/a/**/m*/n/**/z", "/a/m/m1/x/m2/n/z"),
        ("/**/api/**/users", "/apis/api/users"),
        ("/**/b/**", "/bx/b/c"),
        ("/a/**/", "/a/"),
        ("/a/**/", "/a/b/"),
        ("/static/**.js", "/static/a/b.js"),
        ("/static/**.js", "/static/b.js"),
        ("/a**", "/abc/d"),
        ("/a**", "/a"),
        ("/a**z", "/az"),
        ("/a**z", "/ab/cz"),
        ("/a**z", "/a/z"),
        ("/a**m**z", "/a/m/z"),
        ("/a***z", "/a/b/z"),
        ("/caf\u00e9/*", "/caf\u00e9/x"),
        ("/a.b+c(d)[e]{f}^g$|h?", "/a.b+c(d)[e]{f}^g$|h?"),
        ("/a/*", "/a/line\nbreak"),
    ],
)
def test_path_matches(glob, path):
    """`*` is any text within a segment, `**` any segments; all else is literal."""
    assert matches(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/", "/a"),
        ("/api", "/api/"),
        ("/api", "/API"),
        ("/api", "/api/x"),
        ("/api/*", "/api"),
        ("/api/*", "/api/a/b"),
        ("/api/*/lock", "/api/lock"),
        ("/api/**", "/apis"),
        ("/**/lock", "/a/block"),
        ("/a/**/z", "/a/bz"),
        ("/a/**/z", "/az"),
        ("/a/**/", "/a/b"),
        ("/static/**.js", "/static/a/b.jsx"),
        ("/a**z", "/ab/c"),
        ("/a.c", "/abc"),
        ("/a?c", "/abc"),
        ("/a[b]c", "/abc"),
        ("/**", "*"),
    ],
)
def test_path_does_not_match(glob, path):
    assert not matches(glob, path)


def test_any_of_several_globs_matches():
    """Alternatives do not run into each other."""
    pattern = paths_pattern(["/a", "/b/*", "/**/c"])

    assert [bool(pattern.fullmatch(path)) for path in (b"/a", b"/b/x", b"/x/y/c", b"/a/b", b"/bx")] == [
        1,
        1,
        1,
        0,
        0,
    ]


def test_any_of_very_many_globs_matches():
    """They are compiled in parts, so that nothing waits for all of them at once."""
    pattern = paths_pattern([f"/part-{number}/*" for number in range(3 * AT_ONCE_MAX + 1)])

    assert pattern.fullmatch(b"/part-0/x")
    assert pattern.fullmatch(b"/part-%d/x" % (3 * AT_ONCE_MAX))
    assert not pattern.fullmatch(b"/part-%d/x" % (3 * AT_ONCE_MAX + 1))


def test_glob_that_would_become_too_many_patterns_is_refused():
    with pytest.raises(ValueError, match=r"/a\*\*b\*\*c\*\*d\*\*e/\*\*f has more than 4 \*\*"):
        paths_pattern(["/a**b**c**d**e/**f"])


def is_match(glob, path):
    """The meaning of a path glob, by trying every way."""

    @lru_cache(None)
    def rest(at, where):
        if at == len(glob):
            return where == len(path)
        if glob.startswith("/**", at) and (at + 3 == len(glob) or glob[at + 3] == "/"):
            if rest(at + 3, where):
                return True
            cuts = [cut for cut in range(where + 1, len(path) + 1) if cut == len(path) or path[cut] == "/"]
            return where < len(path) and path[where] == "/" and any(rest(at + 3, cut) for cut in cuts)
        if glob.startswith("**", at):
            return any(rest(at + 2, cut) for cut in range(where, len(path) + 1))
        if glob[at] == "*":
            ends = [end for end in range(where, len(path) + 1) if "/" not in path[where:end]]
            return any(rest(at + 1, end) for end in ends)
        return where < len(path) and path[where] == glob[at] and rest(at + 1, where + 1)

    return rest(0, 0)


PIECES = st.lists(st.sampled_from(["a", "b", "*", "**", "/", "/**/", "/*", "/a", "a/"]), max_size=7).map(
    "".join
)


@given(PIECES.map(lambda text: "/" + text).filter(lambda text: "***" not in text), st.text("ab/", max_size=9))
def test_matching_is_what_trying_every_way_finds(glob, rest):
    """Taking the nearest text first never misses a match."""
    path = "/" + rest

    assert matches(glob, path) == is_match(glob, path)


@pytest.mark.parametrize(
    ("glob", "value"),
    [
        ("*", ""),
        ("*", "anything at all"),
        ("mobile", "mobile"),
        ("Bearer *", "Bearer abc.def"),
        ("*/json*", "application/json; charset=utf-8"),
        ("a*b*c", "a/b/b/c"),
        ("**", "x"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_value_matches(glob, value):
    """In a value `*` is any text, slashes included."""
    assert value_pattern(glob).fullmatch(value.encode())


@pytest.mark.parametrize(
    ("glob", "value"), [("mobile", "Mobile"), ("mobile", "mobile2"), ("a*c", "ab"), ("a.c", "abc")]
)
def test_value_does_not_match(glob, value):
    assert not value_pattern(glob).fullmatch(value.encode())


@given(st.text("ab*", max_size=8), st.text("ab/", max_size=10))
def test_value_matching_is_what_trying_every_way_finds(glob, value):
    single = re.sub(r"\*+", "*", glob)
    expected = is_wild(single, value)

    assert bool(value_pattern(glob).fullmatch(value.encode())) == expected


def is_wild(glob, value):
    if not glob:
        return not value
    if glob[0] == "*":
        return any(is_wild(glob[1:], value[cut:]) for cut in range(len(value) + 1))
    return bool(value) and value[0] == glob[0] and is_wild(glob[1:], value[1:])


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("/**/a/**/b/**/c/**/d", "/a/b/c" * 2000),
        ("/*a*a*a*a*a*b", "/" + "a" * 8000),
        ("/**a**a**a**b", "/" + "a/" * 4000),
        ("/**/x*x*x/y", "/" + "x" * 8000),
        ("/**a*b", "/" + "a" * 8000),
        ("/a**a**a**b", "/" + "a" * 8000),
    ],
)
def test_no_path_takes_long(glob, path):
    """A client cannot make matching explode: 8 KiB of the worst path take a few milliseconds."""
    pattern = paths_pattern([glob])
    before = time.process_time()
    for _ in range(10):
        assert not pattern.fullmatch(path.encode())

    assert time.process_time() - before < 1  # a square would take a minute


def test_no_value_takes_long():
    pattern = value_pattern("*a*a*a*a*a*b")
    before = time.process_time()
    for _ in range(10):
        assert not pattern.fullmatch(b"a" * 8000)

    assert time.process_time() - before < 1  # a square would take a minute
