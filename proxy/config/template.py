"""The template of an error object's body: which placeholders it has and whether it can become JSON.

What is put in is escaped for JSON strings, so a placeholder for text stands within quotes; `{status}` may
also stand alone.
"""

from __future__ import annotations

import json
import re

from proxy.config.wording import nearest, shown_name

# A brace of JSON is followed by a quote, a space or a brace, never by a letter.
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
SAMPLES = {
    "status": "503",
    "title": "Service unavailable",
    "detail": "The service cannot be reached.",
    "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
}
TEMPLATE_MAX = 16 * 1024  # an error object, not a page


def parse_template(text: str) -> str:
    if len(text) > TEMPLATE_MAX:
        raise ValueError(f"holds {len(text)} characters, more than the {TEMPLATE_MAX} of an error object")
    for match in _PLACEHOLDER.finditer(text):
        name = match[1]
        if name not in SAMPLES:
            meant = nearest(name, SAMPLES)
            known = ", ".join(f"{{{sample}}}" for sample in SAMPLES)
            hint = f"did you mean {{{meant}}}?" if meant else f"known are {known}"
            raise ValueError(f"{{{shown_name(name)}}} is not a placeholder; {hint}")
    return text


def json_mistake(text: str) -> str | None:
    """Why the template does not become JSON, or None."""
    sample = _PLACEHOLDER.sub(lambda match: SAMPLES[match[1]], text)
    try:
        json.loads(sample)
    except ValueError as error:
        where = f" at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else ""
        if where and re.search(r"[:\[,]\s*\{(title|detail|request_id)\}", text):
            return 'does not become JSON: a placeholder for text goes in quotes, such as "{title}"'
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "not a number"
        return (
            f"does not become JSON once the placeholders are filled: {reason[:1].lower()}{reason[1:]}{where}"
        )
    except RecursionError:
        return "does not become JSON: it is nested too deeply"
    return None
