"""What the parsers of values take, as far as a pattern can say it: for editors (config.schema).

In the dialect of ECMA 262, to be matched whole. A pattern takes everything that its parser does; what it
takes beyond that `weir check` finds.
"""

NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # a token of RFC 9110
_HTTP = r"[Hh][Tt][Tt][Pp]"
_AUTHORITY = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(?::[0-9]{1,5})?"
_REFERENCE = r"file:.+|.*\$\{.+\}.*"  # config.references

SPAN = r"[0-9]{1,12}(?:ms|s|m|h)"
TIMEOUT = rf"(?=[0-9]*[1-9]){SPAN}"
SIZE = r"(?=[0-9]*[1-9])[0-9]{1,15}(?:B|KiB|MiB|GiB)"
RATE = r"(?=[0-9]*[1-9])[0-9]{1,18}/[smhd]"
STATUSES = r"\s*[1-5][0-9]{2}(?:\s*-\s*[1-5][0-9]{2})?\s*"
NETWORK = r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?"
TRUSTED = rf"unix:|{NETWORK}"
_PART = r"(?:header|cookie|jwt|query):\s*\S+|path:\s*[1-9][0-9]?|client-ip|const|host|method"
KEY = rf"\s*(?:{_PART})(?:\+(?:{_PART}))*\s*"
SHARE = r"(?:100|[0-9]{1,2})(?:\.[0-9]+)?%"
ADDRESS = r"unix:/.+|(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+):[0-9]{1,5}"
SERVER = rf"{_HTTP}[Ss]?://{_AUTHORITY}/?|{_HTTP}\+[Uu][Nn][Ii][Xx]:///.+"
STORE = rf"memory|[A-Za-z+]+://.+|{_REFERENCE}"
ORIGIN = rf"{_HTTP}[Ss]?://{_AUTHORITY}"
COLLECTOR = rf"{ORIGIN}(?:/[^?#]*)?"
CORS_ORIGIN = rf"\*|{ORIGIN}"
ACCESS = r"stdout|off|.*/.*[^/]"
HOST = r"(?=.*:.*:)[0-9A-Fa-f:.]+|[^\s:/]+"
SECRET = rf"[!-~]+|{_REFERENCE}"
LIMIT_NAME = r"[A-Za-z0-9_.\-]{1,64}"
KEY_HASH = r"sha256:[0-9a-fA-F]{64}"
MEDIA_GLOB = rf"{NAME}/{NAME}"
MEDIA_TYPE = rf"{NAME}/{NAME}(?:\s*;[ -~]*)?"
TARGET = r"/[!-\"$-~]*"
PATH = r"(?!.*//)(?!.*/\.\.?(?:/|$))(?!.*%[0-9A-Fa-f]{2})/[^?#]*"
