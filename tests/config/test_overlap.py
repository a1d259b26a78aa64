"""Whether two globs have anything in common, against what the gateway's own patterns take."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.overlap import paths_overlap, values_overlap
from proxy.policy.globs import paths_pattern, value_pattern


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [
        ("/a", "/a", True), ("/a", "/b", False), ("/a", "/A/", True), ("/api/**", "/api", True), ("/api/**", "/api/a/b", True),
        ("/api/*", "/api", False), ("/api/*", "/api/a/b", False), ("/a/*/c", "/a/b/*", True), ("/a/*/c", "/a/b/d", False),
        ("/**", "/x/y", True), ("/a*", "/*b", True), ("/a*c", "/b*", False), ("/**/x", "/a/**", True), ("/a**b", "/a/c/b", True),
        ("/a*b", "/a/c/b", False), ("/health", "/api/**", False), ("/", "/**", True), ("/a/**/b", "/a/b", True),
    ],
)  # fmt: skip
def test_paths_overlap_or_not(one, other, do):
    assert paths_overlap(one, other) is do
    assert paths_overlap(other, one) is do


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [("a*", "*b", True), ("a", "b", False), ("a*", "b*", False), ("*", "x/y", True), ("", "*", True)],
)
def test_values_overlap_or_not(one, other, do):
    assert values_overlap(one, other) is do


GLOBS = st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "*b", "a**b"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "aab", "x"]), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=500)
@given(GLOBS, GLOBS, PATHS)
def test_what_fits_both_shows_that_they_overlap(one, other, path):
    if all(paths_pattern([glob]).fullmatch(path.encode()) for glob in (one, other)):
        assert paths_overlap(one, other)


@settings(max_examples=300)
@given(GLOBS, GLOBS)
def test_globs_that_overlap_have_a_path_that_fits_both(one, other):
    """Of the short paths of few letters, one fits both, if any does."""
    words = ["a", "b", "ab", "aab", "aabb", "abab", "aa", "bb", "x", "axb"]
    paths = [""] + [f"/{a}" for a in words] + [f"/{a}/{b}" for a in words for b in words]
    paths += [f"/{a}/{b}/{c}" for a in ("a", "b", "ab") for b in ("a", "b", "ab") for c in ("a", "b", "ab")]
    patterns = [paths_pattern([glob]) for glob in (one, other)]
    found = any(all(pattern.fullmatch(path.encode()) for pattern in patterns) for path in paths)

    if one.count("/") + other.count("/") <= 5 and not paths_overlap(one, other):
        assert not found


VALUES = st.text(st.sampled_from("ab*"), max_size=5)


@settings(max_examples=300)
@given(VALUES, VALUES, st.text(st.sampled_from("ab"), max_size=6))
def test_value_that_fits_both_shows_that_they_overlap(one, other, value):
    if all(value_pattern(glob).fullmatch(value.encode()) for glob in (one, other)):
        assert values_overlap(one, other)
    if not re.search(r"\*", one) and not re.search(r"\*", other):
        assert values_overlap(one, other) is (one == other)
