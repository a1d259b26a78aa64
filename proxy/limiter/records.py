"""What Weir keeps in Redis and what it tells its scripts: the names of keys, every record byte by byte, every
member of a set and every argument word by word.

The one place for all of them. Python packs as it stands here; each script finds the same format under the
same name, put before its source (`lua_constants`). What a script returns stands at its head. Knows nothing of
connections, and no clock.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from proxy.config.units import EMPTIED_MAX_US, PERIODS_US, RATE_COUNT_MAX, SPAN_MAX_MS, Rate
from proxy.limiter.overrides import OVERRIDES_MAX, Override
from proxy.policy.gcra import RefillRate, TokenBucket, reduced
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.overrides import LimitKey
    from proxy.policy.terms import Terms

# Kinds of an operation: what take.lua does with the buckets of a request.
TAKE: Final = 1  # all that a request is charged, or nothing
GIVE_BACK: Final = 2  # its costs, none beyond full
EMPTY: Final = 3  # to at least its cost of debt
HOLD: Final = 4  # TAKE, with slots among the charges: the request holds them from then on
RENEW: Final = 5  # a slot is held still
VACATE: Final = 6  # a slot is held no more

SHADOW: Final = 1  # flag of a charge: it refuses no request
MAY_CLOSE: Final = 2  # flag of a charge: its buckets may be emptied, and are closed then for a while
SLOTS: Final = 4  # flag of a charge: it is a slot, and its bucket a set of holders

BUCKET_BYTES: Final = 28
UNITS_MAX: Final = 1 << 53  # of a debt: larger numbers are not whole any more in Lua
CLOSED: Final = 1  # the tag of a bucket that was emptied beyond empty
TAG_CALLS: Final = 1 << 16  # a tag is the number of a process, times this, and that of a call

# Formats in the letters of Lua's `struct`; Python's are derived. Moments are in microseconds of the
# server's clock, debts in units (policy/gcra.py).
_FORMATS: Final = {
    # A bucket: since when, the debt it had then, interval, scale, the tag of the call that wrote it; of a
    # closed one, when it opens.
    "BUCKET": "<I7I7I5I4I5",
    # Of a call: its deadline, its tag, since when it may have been run before or 0, and until when all
    # replicas that lived are known to have counted by the same limits, or 0.
    "HEAD": "<dddd",
    # Of a run, requests in a row with the same operation: how many, its kind and how many charges it has;
    # then these follow, and behind them the holder of slots where they are among them (HOLD). Packed in two
    # pieces, since an operation does not change.
    "RUN": "<I2I1I1",
    # Of a charge: interval, scale, cost, the most debt it may leave (Terms.ceiling_units), the most there
    # may be, flags.
    "CHARGE": "<dddddI1",
    # Of a bucket that settle.lua brings up to date: interval, scale, ceiling, the most debt there may be, the
    # least there is as far as is known, what was spent without Redis; and what calls without an answer may
    # have been charged: how much, the tag of the first of them, since when it may have been run. The last two
    # say nothing where nothing was.
    "SETTLED": "<ddddddddd",
}
_PARTS: Final = ((0, 7), (7, 14), (14, 19), (19, 23), (23, 28))  # of a BUCKET, in bytes
_LETTERS: Final = {"I1": "B", "I2": "H"}  # Python's, where they differ

# What is told in words, in Python's formats; scripts take it apart by the patterns that are made of these.
_WORDS: Final = {
    # Of a replica that lives: its id, and its limits in a few letters.
    "REPLICA": "%b %b",
    # To announce.lua: for how many microseconds the replica counts as alive (0 takes it away), since when it
    # wants to know of resets, and its REPLICA.
    "ANNOUNCEMENT": "%d %d %b",
    # To reset.lua: for how many milliseconds it is told, and a note.
    "RESET": "%d %b",
    # To overrides.lua: for how many microseconds (0 takes an override away), how many bytes of what follows
    # are the note (0 only reads), and the override as it stands in its set.
    "CHANGE": "%d %d %b",
    # To proven.lua: how many keys may stand there, for how many milliseconds after this call, since when the
    # caller knows them, and the keys that it adds, one behind the other.
    "SHARED": "%d %d %d %b",
}

# Members of the sets, each with a moment in microseconds of the server's clock:
#
#   replicas    REPLICA: when it was last heard of.
#   resets      a note (`pack_note`): when its buckets were reset.
#   overrides   a note and what is done to its key (`pack_override`): until when. And KEPT, as long as any of
#               them: where it is missing, nothing was ever written, or the server has lost it.
#   proven      a partition key: when the service has vouched for it.
#   slots       a holder (`pack_holder`): until when it holds a slot, unless it is told of again before.
KEPT: Final = "kept"  # it has no colon, as every note has

VERSION: Final = 2  # of what is kept in Redis; to be raised with every change of a bucket, a set or a name
MEMBERS_MAX: Final = 1000  # replicas that a beat looks at, for whether all have its limits: 0.6 ms of Redis
NOTES_MAX: Final = 500  # of resets that are told at once
PROVEN_MAX: Final = 500  # keys of proven credentials that are told at once
NOTE_BYTES: Final = 64 + 1 + 16  # the longest: a limit's name, a colon, a key
OVERRIDE_MAX_US: Final = SPAN_MAX_MS * 1000  # that a key is blocked, or has a grant
OVERRIDE_BYTES: Final = NOTE_BYTES + 40  # the longest: a note, and a grant's numbers
SHARDS: Final = 16  # hash tags of keys: enough for any cluster one service needs, few enough for full batches
LAST_SHARD: Final = SHARDS - 1
HOLDER_BYTES: Final = 16
SLOT_LIFE_US: Final = 12_000_000  # a holder that is not told of again for so long is dead: below 15 s


class UnansweredCall(NamedTuple):
    """A call that may have been run although its reply is missing."""

    tag: int
    since_us: float  # not run before that, by the server's clock


class Doubt(NamedTuple):
    """What calls without an answer may have charged to a bucket."""

    units: int
    first: UnansweredCall


def packer(name: str) -> Struct:
    """The packer of the record of this name."""
    text = _FORMATS[name]
    for letters, letter in _LETTERS.items():
        text = text.replace(letters, letter)
    return Struct(text)


pack_head = packer("HEAD").pack
pack_count = Struct("<H").pack  # the first of the two pieces of a RUN
pack_operation = Struct("<BB").pack  # the second
pack_charge = packer("CHARGE").pack
CHARGE_BYTES: Final = packer("CHARGE").size
pack_holder = Struct(">QQ").pack  # of a slot: which process, and the number of the request there
_pack_settled = packer("SETTLED").pack


def wording(name: str) -> Callable[..., bytes]:
    """What puts the words of this name together."""
    text = _WORDS[name].encode()
    return lambda *values: text % values


pack_replica = wording("REPLICA")
pack_announcement = wording("ANNOUNCEMENT")
pack_reset = wording("RESET")
pack_change = wording("CHANGE")
pack_shared = wording("SHARED")


def charge_record(terms: Terms, units: int, ceiling: int) -> bytes:
    """A CHARGE of so many units, which may leave so much debt."""
    flags = (SHADOW if terms.is_shadow else 0) | (MAY_CLOSE if terms.limit.empties else 0)
    flags |= SLOTS if terms.slots else 0
    return pack_charge(terms.interval, terms.scale, units, ceiling, terms.most_units, flags)


def settled_record(terms: Terms, known: int, spent: int, doubt: Doubt | None) -> bytes:
    """A SETTLED of a bucket by these terms."""
    bucket = terms.interval, terms.scale, terms.ceiling_units, terms.most_units, known, spent
    if doubt is None:
        return _pack_settled(*bucket, 0, 0, 0)
    return _pack_settled(*bucket, doubt.units, doubt.first.tag, doubt.first.since_us)


def slot_record(kind: int, holder: bytes) -> bytes:
    """An operation on one slot. As long as that of a charge, since a run has one there."""
    return pack_operation(kind, 1) + holder.ljust(CHARGE_BYTES, b"\0")


def pack_note(limit: str, key: bytes) -> bytes:
    """The note of one bucket, or with an empty key of all of a limit."""
    return b"%b:%b" % (limit.encode(), key)


def read_note(text: bytes) -> tuple[str, bytes] | None:
    """Limit and key; None if it is no note of ours. A limit's name holds no colon."""
    limit, colon, key = text.partition(b":")
    if not colon or not limit.isascii() or len(key) not in (0, KEY_BYTES):
        return None
    return limit.decode(), key


_BLOCKED: Final = b"block"
_GRANT: Final = b"grant %d/%d %d"  # requests, in how many microseconds, and the burst
_GRANTED = re.compile(rb"grant ([0-9]{1,10})/([0-9]{1,11}) ([0-9]{1,10})")


def pack_override(limit_key: LimitKey, override: Override) -> bytes:
    rate = override.rate
    done = _BLOCKED if rate is None else _GRANT % (rate.count, rate.period_us, override.burst)
    return pack_note(*limit_key) + done


def read_override(member: bytes, until_us: int) -> tuple[LimitKey, Override] | None:
    """None if it is none of ours."""
    end = member.find(b":") + 1 + KEY_BYTES
    limit_key, done = read_note(member[:end]), member[end:]
    if limit_key is None or not limit_key[1]:
        return None
    if done == _BLOCKED:
        return limit_key, Override(until_us)
    granted = _GRANTED.fullmatch(done)
    if granted is None:
        return None
    count, period_us, burst = map(int, granted.groups())
    if not 1 <= count <= RATE_COUNT_MAX or period_us not in PERIODS_US or not burst:
        return None
    if burst * reduced(count, period_us)[0] > UNITS_MAX:
        return None
    return limit_key, Override(until_us, Rate(count, period_us), burst)


def debt_in(record: Any, terms: Terms, now_us: int) -> int:
    """What is missing in a bucket, as bucket.lua reads it; one that is none counts as full."""
    if type(record) is not bytes or len(record) != BUCKET_BYTES:
        return 0
    since_us, debt, interval, scale, tag = [
        int.from_bytes(record[start:end], "little") for start, end in _PARTS
    ]
    if debt > UNITS_MAX or not interval or not scale:
        return 0
    bucket = TokenBucket()
    bucket.debt, bucket.since_us, bucket.rate = debt, since_us, RefillRate(interval, scale)
    closed_us = since_us - now_us
    if closed_us > 0 and not (tag == CLOSED and closed_us <= EMPTIED_MAX_US and terms.limit.empties):
        bucket.since_us = now_us
    return bucket.debt_at(now_us, terms.refill_rate, terms.most_units, terms.ceiling_units - terms.cost_units)


def lua_constants() -> str:
    """What stands before each script: formats and numbers by their names here."""
    numbers = {
        "TAKE": TAKE,
        "GIVE_BACK": GIVE_BACK,
        "EMPTY": EMPTY,
        "HOLD": HOLD,
        "RENEW": RENEW,
        "VACATE": VACATE,
        "SHADOW": SHADOW,
        "MAY_CLOSE": MAY_CLOSE,
        "SLOTS": SLOTS,
        "SLOT_LIFE": SLOT_LIFE_US,
        "HOLDER_BYTES": HOLDER_BYTES,
        "CHARGE_BYTES": CHARGE_BYTES,
        "CLOSED": CLOSED,
        "CLOSED_MAX": EMPTIED_MAX_US,
        "BUCKET_BYTES": BUCKET_BYTES,
        "UNITS_MAX": UNITS_MAX,
        "TAG_CALLS": TAG_CALLS,
        "MEMBERS_MAX": MEMBERS_MAX,
        "NOTES_MAX": NOTES_MAX,
        "NOTE_BYTES": NOTE_BYTES,
        "KEY_BYTES": KEY_BYTES,
        "PROVEN_MAX": PROVEN_MAX,
        "OVERRIDES_MAX": OVERRIDES_MAX,
        "OVERRIDE_BYTES": OVERRIDE_BYTES,
        "OVERRIDE_MAX": OVERRIDE_MAX_US,
    }
    texts = {"KEPT": KEPT, **_FORMATS} | {name: _pattern(words) for name, words in _WORDS.items()}
    lines = [f"{name} = {number}" for name, number in numbers.items()]
    lines += [f"{name} = '{text}'" for name, text in texts.items()]
    return "".join(f"local {line}\n" for line in lines)


def _pattern(words: str) -> str:
    """Lua's, by which words come apart: the last of them is whatever is left."""
    *first, last = words.replace("%d", "(%d+)").split(" ")
    return "^" + " ".join([*first, last.replace("%b", "(.*)")]).replace("%b", "(%S+)") + "$"


def shard_of(key: bytes) -> int:
    return key[0] & LAST_SHARD


def shard_tag(shard: int) -> bytes:
    """What of a key's name chooses the slot in a cluster."""
    return b"{%x}" % shard


class Names:
    """Names of all keys of one service. The version stands in each: what another one keeps is not read."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = b"%b:%d" % (prefix.encode(), VERSION)

    def bucket(self, limit: str, shard: int, key: bytes) -> bytes:
        return b"%b:%b:%b:%b" % (self._prefix, shard_tag(shard), limit.encode(), key)

    def buckets_pattern(self, limit: str) -> bytes:
        """What SCAN looks for: all buckets of a limit, and what merely looks like one."""
        return b"%b:{?}:%b:*" % (self._prefix, limit.encode())

    def slots(self, limit: str, shard: int, key: bytes) -> bytes:
        """The set of those who hold a slot of a bucket."""
        return b"%b:%b:%b/slots:%b" % (self._prefix, shard_tag(shard), limit.encode(), key)

    def replicas(self, shard: int) -> bytes:
        """The set of replicas that live."""
        return b"%b:%b:replicas" % (self._prefix, shard_tag(shard))

    def resets(self, shard: int) -> bytes:
        """The set of notes on buckets that were reset."""
        return b"%b:%b:resets" % (self._prefix, shard_tag(shard))

    def proven(self, shard: int) -> bytes:
        """The set of credentials that the service has vouched for."""
        return b"%b:%b:proven" % (self._prefix, shard_tag(shard))

    def overrides(self, shard: int) -> bytes:
        """The set of keys that are blocked or granted another rate."""
        return b"%b:%b:overrides" % (self._prefix, shard_tag(shard))

    def rehearsal(self, shard: int) -> bytes:
        """A bucket that is no client's."""
        return b"%b:%b:rehearsal" % (self._prefix, shard_tag(shard))
