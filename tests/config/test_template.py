"""The template of an error object."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.template import json_mistake, parse_template

DESIGN = '{"error": {"code": "{status}", "message": "{title}", "ticket": "{request_id}"}}'


def test_template_of_the_design_becomes_json():
    assert parse_template(DESIGN) == DESIGN
    assert json_mistake(DESIGN) is None


def test_status_may_stand_without_quotes():
    assert json_mistake('{"status": {status}}') is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"a": "{ticket}"}',
            "{ticket} is not a placeholder; known are {status}, {title}, {detail}, {request_id}",
        ),
        ('{"a": "{requestid}"}', "{requestid} is not a placeholder; did you mean {request_id}?"),
        ("x" * 20000, "holds 20000 characters, more than the 16384 of an error object"),
    ],
)
def test_template_with_a_wrong_placeholder_says_which(text, message):
    with pytest.raises(ValueError) as caught:
        parse_template(text)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {title}}', 'does not become JSON: a placeholder for text goes in quotes, such as "{title}"'),
        (
            '{"a": "{title}"',
            "does not become JSON once the placeholders are filled: expecting ',' delimiter at character 28",
        ),
        ("", "does not become JSON once the placeholders are filled: expecting value at character 1"),
        ("[" * 16000, "does not become JSON: it is nested too deeply"),
    ],
)
def test_template_that_is_no_json_says_why(text, message):
    assert json_mistake(text) == message


@given(st.dictionaries(st.text(), st.text()))
def test_json_without_placeholders_is_a_template(data):
    """Braces of JSON are never taken for placeholders."""
    text = json.dumps(data)
    if "{" not in text[1:]:
        assert parse_template(text) == text
        assert json_mistake(text) is None
