"""YAML as data with places: what is read differently from YAML 1.1, and what is refused."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.document import VALUES_MAX, Mark, read


def only_mistake(text):
    document = read(text)
    assert len(document.mistakes) == 1, document.mistakes
    mark, path, message = document.mistakes[0]
    return (mark.line, mark.column, path, message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("15", 15),
        ("-3", -3),
        ("0", 0),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("15:30", "15:30"),
        ("1.5", "1.5"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("2026-01-01", "2026-01-01"),
        ("9" * 5000, "9" * 5000),
        ("'15'", "15"),
        ('"true"', "true"),
        ("=", "="),
    ],
)
def test_scalar_is_read_without_the_surprises_of_yaml_1_1(text, value):
    """Numbers in other bases, clock times, dates and words for true are text."""
    assert read(f"a: {text}").data == {"a": value}
    assert read(f"a: {text}").mistakes == []


def test_escapes_of_json_for_one_character_make_one():
    assert read('{"\\ud83d\\ude00": "\\ud83d\\ude00"}').data == {"\U0001f600": "\U0001f600"}


def test_every_key_and_value_has_its_place():
    document = read("a:\n  b: [1,\n    {c: 2}]\n")

    assert document.data == {"a": {"b": [1, {"c": 2}]}}
    assert document.keys[("a", "b")] == Mark(2, 3)
    assert document.values[("a", "b", 0)] == Mark(2, 7)
    assert document.keys[("a", "b", 1, "c")] == Mark(3, 6)
    assert document.values[("a", "b", 1, "c")] == Mark(3, 9)


def test_columns_count_characters_not_bytes():
    assert read("é: {ü: ö}").values[("é", "ü")] == Mark(1, 8)


def test_alias_is_what_its_anchor_is():
    assert read("a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}", {"b": 3, "c": 2}),
        ("a: &x {b: 1}\ny: &y {b: 5, e: 6}\nd:\n  <<: [*x, *y]", {"b": 1, "e": 6}),
        ("a: &x {b: 1}\ny: &y {<<: *x, e: 6}\nd:\n  <<: *y", {"b": 1, "e": 6}),
    ],
)
def test_merge_brings_in_what_is_not_there(text, data):
    """Own keys win over merged ones, and the first of several merged blocks over the later."""
    assert read(text).data["d"] == data


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: 1\nb: 2\na: 3", (3, 1, ("a",), "is there twice, first in line 1")),
        ("a:\n\t b: 1", (2, 1, (), "not valid YAML: a tab cannot indent: use spaces")),
        (
            "a: b: c",
            (1, 5, (), "not valid YAML: a colon and a space within a value: put the value in quotes"),
        ),
        ("a: 'b", (1, 6, (), "not valid YAML: a quote is opened but not closed")),
        ("a: [1, 2\nb: 3", (2, 2, (), "not valid YAML: a comma or a closing bracket is missing")),
        (
            "a: 1\n b: 2",
            (2, 3, (), "not valid YAML: a colon and a space within a value: put the value in quotes"),
        ),
        (
            "a:\n  b: 1\n c: 2",
            (3, 2, (), "not valid YAML: the indentation does not fit, or a quote or comma is out of place"),
        ),
        ("a: 1\nbc\nd: 2", (3, 1, (), "not valid YAML: a colon is missing after the name")),
        ("a: *p\u00e9r", (1, 6, (), "not valid YAML: the name of an alias cannot have '\\xe9' in it")),
        ("a: &\u043f 1", (1, 5, (), "not valid YAML: the name of an anchor cannot have '\\u043f' in it")),
        (
            "a:\n\u00a0 - {b: 1, c: 2}",
            (
                2,
                13,
                (),
                "not valid YAML: a colon and a space within a value: put the value in quotes; line 2 has \\xa0, which is no space",
            ),
        ),
        ("a: @b", (1, 4, (), "not valid YAML: a value that begins with this character must stand in quotes")),
        ("a: %b", (1, 4, (), "not valid YAML: a value that begins with this character must stand in quotes")),
        (
            'a: "\\d"',
            (1, 6, (), "not valid YAML: unknown escape in double quotes: write \\\\, or use single quotes"),
        ),
        (
            "a: 1\n---\nb: 2",
            (2, 1, (), "not valid YAML: a second document begins here: one file holds one config"),
        ),
        ("a: *x", (1, 4, (), "not valid YAML: the alias is used before its anchor is defined")),
        ("a: !!python/name:os.system", (1, 4, (), "tags (!) have no meaning here; quotes make text")),
        ("a: !x y", (1, 4, (), "tags (!) have no meaning here; quotes make text")),
        ("a: !x!y z", (1, 4, (), "not valid YAML: tags (!) have no meaning here; quotes make text")),
        ("a: b\x07c", (1, 5, (), "not valid YAML: a control character is not allowed")),
        ("a:\n  b\x00c", (2, 4, (), "not valid YAML: a control character is not allowed")),
        ("? [a]\n: b", (1, 3, (), "a name must be text, not a list or a block")),
        ('a: {"": b}', (1, 5, ("a",), "a name is missing before the colon")),
        ('a: "\\ud800"', (1, 4, ("a",), "an escape stands for half a character")),
        ('a: {"\\ud800": 1}', (1, 5, ("a",), "an escape stands for half a character")),
        ("a: &x [*x]", (1, 4, ("a", 0), "the alias stands within its own anchor")),
        ("a: &x {b: *x}", (1, 4, ("a", "b"), "the alias stands within its own anchor")),
        ("a: &x {<<: *x}", (1, 4, ("a",), "the alias stands within its own anchor")),
        ("a: {<<: 3}", (1, 9, ("a",), "<< takes the alias of a block")),
        ("a: " + "[" * 30 + "]" * 30, (1, 27, (), "nested more than 24 levels deep")),
    ],
)
def test_text_that_is_no_config_says_where_and_why(text, mistake):
    assert only_mistake(text) == mistake


def test_bomb_of_aliases_is_refused_at_once():
    """Ten lines that stand for a billion values cost no more than the bound."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    began = time.process_time()

    document = read("\n".join(lines))

    assert time.process_time() - began < 5
    assert [message for _, _, message in document.mistakes] == [
        f"holds more than {VALUES_MAX} values once its aliases are followed"
    ]


def test_text_of_too_many_values_is_refused():
    """Before the last of them is read."""
    assert only_mistake("a: [" + "1," * VALUES_MAX + "]")[2:] == ((), f"holds more than {VALUES_MAX} values")


SECRET = "hunter2zz"


@given(
    st.text(alphabet="ab:*&!|>%@`'\"{}[],#-? \n\t\\\x00", max_size=12),
    st.text(alphabet=":*&!'\"{}[],#- \n\t", max_size=12),
)
def test_no_mistake_repeats_what_may_be_a_secret(before, after):
    """Whatever is wrong with the YAML around a value, the mistake does not show the value."""
    document = read(f"token: {before}{SECRET}{after}\n")

    assert all(SECRET not in message and "\n" not in message for _, _, message in document.mistakes)


@given(st.text(max_size=60))
def test_any_text_is_read_or_has_mistakes(text):
    read(text)
