r"""Malformed lines and lines that are merely odd, each with what must become of it.

In a line, `~` stands for a number of the case, so that no two lines are one event. `line()` is a
good line; its arguments are JSON texts in the place of a field's value, `None` leaves the field
out, and `more` is put behind the last field. The rules behind the outcomes:

- JSON is what RFC 8259 says, in UTF-8: no single quotes, comments, NaN or trailing commas. What is
  not JSON is `not_json`; what is, but no object or with a field of another type, `wrong_type`.
- A text field takes a number, true or false as its text, but no object and no list. A user id is no
  true, no false and no number with a fraction; `91`, `"91"`, `91.0`, `9.1e1` and `"91 "` are one
  user, `"091"` is another, and a blank, nan, none, null, nil, undefined, <NA> or \N is nobody.
- A number field takes no text, not even of digits: a source that changes its types is looked at.
- Of a key that comes twice the last value counts, as in nearly every reader; a field that is not
  read can hold anything.
- Blanks and tabs around a value mean nothing. A line ends with a line feed, a carriage return or
  both.
"""

from dataclasses import dataclass, field
from typing import Any

FIRST, LAST = "Zaphirel", "Quorvane"
FIELDS = {
    "ts": "1539~000", "userId": '"77"', "sessionId": "~", "page": '"NextSong"',
    "auth": '"Logged In"', "method": '"PUT"', "status": "200", "level": '"paid"',
    "itemInSession": "3", "location": '"Mill Ferry, TX"', "userAgent": '"Mozilla/5.0"',
    "lastName": f'"{LAST}"', "firstName": f'"{FIRST}"', "registration": "1536000000000",
    "gender": '"F"', "artist": '"Nulla"', "song": '"Paper Song"', "length": "200.5",
}  # fmt: skip
TEXTS = ["userId", "page", "auth", "method", "level", "location", "userAgent", "gender",
         "artist", "song"]  # fmt: skip
WHOLE_NUMBERS = ["ts", "sessionId", "status", "itemInSession"]
NUMBERS = [*WHOLE_NUMBERS, "registration", "length"]
REGISTERED = "2018-09-03 18:40:00"
COLUMNS = {
    "userId": "user_id", "method": "http_method", "status": "http_status",
    "itemInSession": "item_in_session", "userAgent": "user_agent", "registration": "registered_at",
    "length": "song_milliseconds",
}  # fmt: skip
MILLION = 1_000_000


@dataclass(frozen=True)
class Case:
    """Lines, and how many of them are events, rejected for one reason, or duplicates."""

    name: str
    text: bytes
    events: int = 0
    reason: str | None = None
    rejected: int = 0
    duplicates: int = 0
    # columns of `stg_events`, or pieces of the quarantined line
    values: dict[str, Any] = field(default_factory=dict)
    shows: tuple[str, ...] = ()
    # the one reader of which this is true, where they differ
    reader: str | None = None

    @property
    def outcome(self) -> str:
        if self.duplicates:
            return "duplicate"
        return self.reason or ("staged" if self.events else "blank")


CASES: list[Case] = []


def to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def staged(name: str, text: str | bytes, events: int = 1, **values: Any) -> None:
    CASES.append(Case(name, to_bytes(text), events=events, values=values))


def rejected(
    name: str, reason: str, text: str | bytes, lines: int = 1, shows: tuple[str, ...] = ()
) -> None:
    CASES.append(Case(name, to_bytes(text), reason=reason, rejected=lines, shows=shows))


def not_json(name: str, text: str | bytes, **more: Any) -> None:
    rejected(name, "not_json", text, **more)


def wrong_type(name: str, text: str | bytes, **more: Any) -> None:
    rejected(name, "wrong_type", text, **more)


def blank(name: str, text: str | bytes) -> None:
    CASES.append(Case(name, to_bytes(text)))


def duplicate(name: str, text: str | bytes) -> None:
    """Two lines that are one event."""
    CASES.append(Case(name, to_bytes(text), events=1, duplicates=1))


def line(more: str = "", /, **changes: str | None) -> str:
    fields = {key: value for key, value in {**FIELDS, **changes}.items() if value is not None}
    return "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + more + "}"


def song(content: bytes) -> bytes:
    """The good line with these bytes in the text of the song."""
    return line().encode().replace(b"Paper Song", content)


GOOD = line()
REVERSED = "{" + ", ".join(f'"{key}": {FIELDS[key]}' for key in reversed(FIELDS)) + "}"
CUT = GOOD[: GOOD.index('"status"')]  # before both names

# --- bytes: not UTF-8

for name, content in {
    "latin-1": b"Bj\xf6rk", "windows-1252-quotes": b"\x93Paper\x94",
    "continuation-byte-alone": b"a\x80b", "first-of-two-bytes-alone": b"a\xc3",
    "two-of-three-bytes": b"\xe2\x82 5", "three-of-four-bytes": b"\xf0\x9f\x8e",
    "five-bytes": b"\xf8\x88\x80\x80\x80", "byte-fe": b"\xfe", "byte-ff": b"\xff",
}.items():  # fmt: skip
    not_json(name, song(content))
# Spark's JSON file reader takes these for characters. To look at the bytes of every line would cost
# time on every log, for lines that no usual program writes.
for name, content in {
    "overlong-slash": b"\xc0\xaf", "overlong-letter": b"\xc1\xa1", "overlong-zero": b"\xc0\x80",
    "overlong-three-bytes": b"\xe0\x80\xaf", "overlong-four-bytes": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80", "surrogate-pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "above-unicode": b"\xf4\x90\x80\x80",
}.items():  # fmt: skip
    CASES.append(Case(name, song(content), events=1, reader="by-file"))
    CASES.append(Case(name, song(content), reason="not_json", rejected=1, reader="by-line"))
not_json("bad-byte-in-key", GOOD.encode().replace(b"song", b"s\xf6ng"))
not_json("bad-byte-in-name", GOOD.encode().replace(b"Zaph", b"Zaph\xf6"), shows=("Paper Song",))
not_json("bad-byte-in-field-not-read", line(', "x": "?"').encode().replace(b"?", b"\xff"))
not_json("bad-byte-between-fields", GOOD.encode().replace(b', "page"', b',\xa0"page"'))
not_json("bad-byte-in-front", b"\xff" + GOOD.encode())
not_json("bad-byte-behind", GOOD.encode() + b"\xff")
not_json("bad-byte-and-wrong-type", line(status='"OK"').encode().replace(b"OK", b"\xff"))
not_json("zeros", b"\0" * 300)
not_json("zero-in-text", song(b"a\0b"))
not_json("zero-between-fields", GOOD.encode().replace(b', "page"', b',\0"page"'))
not_json("zero-in-front", b"\0" + GOOD.encode())
not_json("zero-behind", GOOD.encode() + b"\0")
not_json("zero-as-second-byte", GOOD.encode().replace(b"{", b"{\0", 1))
not_json("random", bytes(range(128, 256)) * 3)
# what is read as lines are the bytes up to each line feed; the last one leaves a zero alone
not_json("utf-16-little-endian", (GOOD + "\n" + GOOD).encode("utf-16-le") + b"\n", lines=2)
not_json("utf-16-big-endian", GOOD.encode("utf-16-be"))
not_json("utf-16-with-mark", GOOD.encode("utf-16"))
not_json("utf-32", GOOD.encode("utf-32-le"))
# nobody can tell it from a line of which a reader replaced the bytes that were no UTF-8
not_json("bytes-replaced", line(ts='"yesterday"', song='"Bj\ufffdrk"'))
not_json("gzip-within", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xabV*.I,IU\xb2R")

# --- characters: odd, but in order

for name, text in {
    "not-a-character": "\uffff", "last-of-unicode": "\U0010ffff", "replacement-character": "\ufffd",
    "replacement-character-in-a-word": "Bj\ufffdrk", "encoded-twice": "BjÃÂ¶rk",
    "not-latin": "Σtella 音楽 🎵", "emoji-and-hebrew": "🎵 שלום", "combining": "e\u0301",
    "line-separator": "a\u2028b", "next-line": "a\u0085b", "mark-in-text": "\ufeffa",
    "no-break-space": "a\u00a0", "delete": "a\x7fb", "braces-in-text": "}{ ][ a } b {",
    "colon-and-bracket-in-text": "Live: [1]", "text-in-brackets": "[Untitled]",
    "nan-in-text": "NaN", "comment-in-text": "/* a */ // b", "single-quotes-in-text": "it's '}'",
}.items():  # fmt: skip
    staged(name, song(text.encode()), song=text)
staged("escaped-zero", song(rb"a\u0000b"), song="a\0b")
staged("escaped-pair", song(rb"\ud83c\udfb5"), song="🎵")
# no text can hold half a character; Spark writes a question mark
staged("escaped-half-pair", song(rb"a\ud83cb"), song="a?b")
staged("escaped-slash", song(rb"AC\/DC"), song="AC/DC")
staged("escaped-marks", song(rb"6'2\" \\ \t\n"), song="6'2\" \\ \t\n")
staged("escaped-feeds", song(rb"a\r\n\f\b"), song="a\r\n\f\b")
staged("escaped-backslash-at-the-end", song(rb"a\\"), song="a\\")
staged("brace-behind-escaped-quote", song(rb"\"}{\""), song='"}{"')
staged("json-in-text", song(rb"{\"a\": [1]}"), song='{"a": [1]}')
staged("list-in-text", song(rb"[\"a\"]"), song='["a"]')
staged("braces-as-page", line(page='"{page}"'), page="{page}", page_category="unknown")
staged("brackets-as-user", line(userId='"[77]"'), user_id="[77]")

# --- blanks and ends of lines

for name, text in {
    "blanks-in-front": "   " + GOOD, "tab-in-front": "\t" + GOOD, "blanks-behind": GOOD + "  ",
    "tab-behind": GOOD + "\t", "tabs-between": GOOD.replace(": ", ":\t").replace(', "', ',\t"'),
    "crlf": GOOD + "\r", "two-carriage-returns": GOOD + "\r\r",
    "carriage-return-in-front": "\r" + GOOD,
}.items():  # fmt: skip
    staged(name, text, song="Paper Song")
staged("no-blanks", GOOD.replace(": ", ":").replace(", ", ","), location="Mill Ferry,TX")
staged("carriage-return-alone", GOOD + "\r" + line(itemInSession="4"), events=2)
not_json("carriage-return-within", GOOD.replace(', "status"', ',\r"status"'), lines=2)
not_json("line-feed-within", GOOD.replace(', "status"', ',\n"status"'), lines=2)
not_json("line-feed-in-name", GOOD.replace(LAST, LAST[:4] + "\n" + LAST[4:]), lines=2)
blank("empty", b"")
blank("blanks", b"    ")
blank("tab", b"\t")
blank("blanks-and-carriage-return", b" \t \r")
not_json("form-feed-alone", b"\f")
not_json("form-feed-in-front", "\f" + GOOD)
not_json("form-feed-behind", GOOD + "\f")
not_json("vertical-tab-behind", GOOD + "\v")
not_json("line-separator-behind", GOOD + "\u2028")
not_json("next-line-behind", GOOD + "\u0085")
not_json("no-break-space-in-front", "\u00a0" + GOOD)
not_json("no-break-space-between", GOOD.replace(', "page"', ',\u00a0"page"'))
not_json("zero-width-space-in-front", "\u200b" + GOOD)
# a mark belongs to the start of a file; the file cases have it there
not_json("mark-in-front", "\ufeff" + GOOD)
for control, what in {
    b"\t": "tab", b"\x01": "start", b"\b": "backspace", b"\f": "form-feed", b"\v": "vertical-tab",
    b"\x1b": "escape", b"\x1f": "separator",
}.items():  # fmt: skip
    not_json(f"{what}-in-text", song(b"a" + control + b"b"))

# --- JSON: marks

not_json("trailing-comma", line(","))
not_json("leading-comma", GOOD.replace("{", "{,", 1))
not_json("two-commas", GOOD.replace(', "page"', ',, "page"'))
not_json("no-comma", GOOD.replace(', "page"', ' "page"'))
not_json("no-colon", GOOD.replace('"page":', '"page"'))
not_json("two-colons", GOOD.replace('"page":', '"page"::'))
not_json("equals-sign", GOOD.replace('"page":', '"page" ='))
not_json("semicolons", GOOD.replace(",", ";"))
not_json("no-value", line(level=""))
not_json("key-alone", line(', "x"'))
not_json("single-quotes", GOOD.replace('"', "'"))
not_json("single-quoted-value", line(song="'Paper Song'"))
not_json("single-quoted-key", GOOD.replace('"song"', "'song'"))
not_json("single-quotes-hide-an-event", line(song="'a \" b'") + line(song="'c \" d'"))
not_json("typographic-quotes", line(song="“Paper Song”"))
not_json("backticks", line(song="`Paper Song`"))
not_json("quote-within-text", song(b'6"2'))
not_json("key-without-quotes", GOOD.replace('"song"', "song"))
not_json("value-without-quotes", line(song="Paper"))
not_json("number-as-key", GOOD.replace('"song"', "7"))
not_json("python", str({"ts": 1539000000000, "lastName": LAST, "gender": None, "a": True}))
not_json("true-in-capitals", line(level="True"))
not_json("none", line(gender="None"))
not_json("undefined", line(gender="undefined"))
not_json("comment", line("/* x */"))
not_json("comment-to-the-end", GOOD[:-1] + "// }")
not_json("comment-with-hash", "# " + GOOD)
not_json("comment-behind", GOOD + " // x")
not_json("unknown-escape", song(rb"\x41"))
not_json("escaped-single-quote", song(rb"it\'s"))
not_json("short-unicode-escape", song(rb"\u12"))
not_json("unicode-escape-without-hex", song(rb"\u00zz"))
for name, text in {
    "backslash-alone": "\\", "opening-brace-alone": "{", "closing-brace-alone": "}",
    "opening-bracket-alone": "[", "quote-alone": '"', "comma-alone": ",",
    "braces-in-braces": "{{}}", "key-without-value": '{"ts"}', "colon-in-braces": "{:}",
    "list-in-braces": "{[1]}",
}.items():  # fmt: skip
    not_json(name, text)
not_json("round-brackets", f"({GOOD})")
not_json("callback", f"log({GOOD});")
not_json("log-prefix", "2018-10-08T12:00:00Z INFO " + GOOD)
not_json("key-value", f"ts=1539000000000 firstName={FIRST} lastName={LAST}", shows=("1539",))
not_json("words", "upstream timed out")
not_json("html", "<html><body>502 Bad Gateway</body></html>")
not_json("no-quotes", f"{{ts: 1539000000000, firstName: {FIRST}, lastName: {LAST}")
not_json("csv", '1539000000000,"77",5,"NextSong"')
not_json("xml", "<event ts='1539000000000'/>")
not_json("insert", "INSERT INTO events VALUES (1539000000000)")
not_json("escaped-as-a-whole", GOOD.replace('"', '\\"'))

# --- JSON: numbers

for what, number in {
    "nan": "NaN", "infinity": "Infinity", "minus-infinity": "-Infinity", "plus": "+1",
    "leading-zero": "007", "hexadecimal": "0x1F", "point-at-the-end": "1.",
    "point-in-front": ".5", "exponent-without-digits": "1e", "two-minus-signs": "--1",
    "underscore": "1_000", "thousands": "1,000", "letter-behind": "200L", "minus-alone": "-",
}.items():  # fmt: skip
    not_json(f"length-{what}", line(length=number))
not_json("ts-leading-zero", line(ts="01539~000"))
not_json("registration-nan", line(registration="NaN"))
not_json("nan-in-field-not-read", line(', "x": NaN'))
not_json("nan-as-song", line(song="NaN"))
staged("length-exponent", line(length="2.005E+2"), song_milliseconds=200500)
staged("length-whole", line(length="200"), song_milliseconds=200000)
staged("length-shortest-and-longest", line(length="0") + "\n" + line(length="86400"), events=2)
staged("length-minus-zero", line(length="-0"), song_milliseconds=0)
staged("length-minus-zero-point-zero", line(length="-0.0"), song_milliseconds=0)
staged("length-many-digits", line(length="200.5" + "0" * 400), song_milliseconds=200500)
staged("length-tiny", line(length="1e-400"), song_milliseconds=0)
staged("item-minus-zero", line(itemInSession="-0"), item_in_session=0)
staged("item-largest", line(itemInSession="2147483647"), item_in_session=2147483647)
staged("session-zero", line(sessionId="0"), session_id=0)
staged("session-negative", line(sessionId="-5"), session_id=-5)
staged("session-largest", line(sessionId="9223372036854775807"), session_id=2**63 - 1)

# --- JSON: cut short, at the front, or run together

for what, mark in {
    "in-key": '"stat', "behind-key": '"status"', "behind-colon": '"status":',
    "in-number": '"status": 20',
    "behind-number": '"status": 200', "behind-comma": '"status": 200,', "in-text": '"level": "pa',
    "behind-text": '"level": "paid"', "in-last-name": f'"lastName": "{LAST[:4]}',
    "before-last-name": '"lastName": ', "in-first-name": f'"firstName": "{FIRST[:6]}',
    "behind-first-name": f'"firstName": "{FIRST}"', "before-closing-brace": '"length": 200.5',
}.items():  # fmt: skip
    not_json(f"cut-{what}", GOOD[: GOOD.index(mark) + len(mark)], shows=('"userId": "77"',))
not_json("cut-behind-names", GOOD[:-30], shows=("1539", '"gender": "F"', "***"))
not_json("cut-behind-opening-brace", '{"ts"'[:2])
not_json("cut-in-escape", song(b"a\\").split(b'", "length"')[0])
not_json("cut-in-character", song("a🎵".encode()).split(b"\x8e")[0])
not_json("cut-behind-inner-brace", CUT + '"x": {"y": 1}')
not_json("cut-in-list", CUT + '"x": [1, 2')
for what, mark in {
    "in-last-name": LAST[4:], "at-last-name": LAST, "before-last-name": f'"{LAST}',
    "in-key-of-last-name": f'Name": "{LAST}', "behind-key-of-last-name": f'": "{LAST}',
    "in-first-name": FIRST[3:],
}.items():  # fmt: skip
    not_json(f"front-cut-{what}", GOOD[GOOD.index(mark) :], shows=('"Paper Song"',))
not_json("front-cut-before-names", GOOD[40:], shows=('"Paper Song"',))
not_json("two-events", GOOD + line(itemInSession="4"))
not_json("two-events-and-a-blank", f"{GOOD} {GOOD}")
not_json("two-events-and-a-comma", f"{GOOD},{GOOD}")
not_json("two-events-and-a-form-feed", f"{GOOD}\f{GOOD}")
for name, more in {
    "event-and-number": " 7", "event-and-text": '"x"', "event-and-list": "[]",
    "event-and-brace": "}", "event-and-bracket": "]", "event-and-brace-and-bracket": "}]",
    "event-and-comma": ",",
}.items():  # fmt: skip
    not_json(name, GOOD + more)
not_json("event-that-closes-a-list", GOOD + ", 0] x")
not_json("brace-and-event", "{" + GOOD)
not_json("torn-event-and-event", GOOD[:200] + GOOD)

# --- JSON: values that are no object; keys; nesting

for what, value in {
    "number": "7", "text": '"NextSong"', "empty-text": '""', "true": "true", "null": "null",
    "empty-list": "[]", "list-of-numbers": "[1, 2]", "list-of-lists": "[[]]",
    "list-of-an-event": f"[{GOOD}]", "list-of-events": f"[{GOOD}, {GOOD}]",
    "list-of-an-empty-object": "[{}]", "text-of-an-event": '"{\\"ts\\": 1}"',
}.items():  # fmt: skip
    wrong_type(f"{what}-as-line", value)
rejected("empty-object", "missing_timestamp", "{}")
rejected("empty-object-and-blanks", "missing_timestamp", " { } ")
rejected("other-object", "missing_timestamp", '{"message": "upstream timed out"}')
rejected("event-within-object", "missing_timestamp", f'{{"event": {GOOD}}}')
staged("keys-in-other-order", REVERSED, song="Paper Song")
staged("escaped-key", GOOD.replace('"song"', r'"\u0073ong"'), song="Paper Song")
staged("escaped-letters", song(rb"\u0050aper"), song="Paper")
staged("empty-key", line(', "": 1'), song="Paper Song")
staged("key-with-a-dot", line(', "song.title": "x"'), song="Paper Song")
# keys are what they are: one in other letters is another field
rejected("keys-in-capitals", "missing_timestamp", GOOD.replace('"ts"', '"TS"'))
staged("user-key-in-small-letters", GOOD.replace('"userId"', '"userid"'), user_id=None)
for name, other in {
    "userId": '"78"', "page": '"Home"', "auth": '"Guest"', "method": '"GET"', "status": "404",
    "level": '"free"', "itemInSession": "9", "location": '"X"', "userAgent": '"Y"', "gender": '"M"',
    "artist": '"A"', "song": '"B"',
}.items():  # fmt: skip
    value = int(other) if other.isdigit() else other.strip('"')
    staged(f"{name}-twice", line(f', "{name}": {other}'), **{COLUMNS.get(name, name): value})
staged("length-twice", line(', "length": 1.5'), song_milliseconds=1500)
staged("session-twice", line(', "sessionId": ~', sessionId="5"))
staged("ts-twice", line(', "ts": 1539~000', ts="1"))
staged("registration-twice", line(', "registration": 1536000000000', registration="-1"))
staged("first-name-twice", line(f', "firstName": "{FIRST}"'))
staged("song-and-null", line(', "song": null'), song=None)
rejected("ts-and-null", "missing_timestamp", line(', "ts": null'))
wrong_type("status-words-and-number", line(', "status": 200', status='"OK"'))
for what, value in {
    "object": '{"a": {"b": 1}}', "list": "[1, [2], {}]", "empty-object": "{}", "empty-list": "[]",
    "object-with-fields": '{"ts": 1, "page": {"x": []}, "song": ["y"]}', "text": '"}"',
    "list-of-braces": '["}", "{", "]"]', "large-number": "9" * 300, "1e400": "1e400",
    "7-levels": '{"a":' * 7 + "1" + "}" * 7, "500-levels": '{"a":' * 500 + "1" + "}" * 500,
    "500-lists": "[" * 500 + "]" * 500,
}.items():  # fmt: skip
    staged(f"field-not-read-{what}", line(f', "x": {value}'), song="Paper Song")
# no reader takes any depth: the limit of Spark's is 1000
not_json("field-not-read-5000-levels", line(f', "x": {"[" * 5000 + "]" * 5000}'))
not_json("brackets-opened-5000-times", "[" * 5000)
not_json("braces-opened-5000-times", '{"a":' * 5000)

# --- long lines

staged("5-mb-song", song(b"la" * 2_500_000), song="la" * 2_500_000)
staged("5-mb-field-not-read", line(f', "x": "{"la" * 2_500_000}"'), song="Paper Song")
not_json("5-mb-cut", line(f', "x": "{"la" * 2_500_000}')[:-1])
not_json("5-mb-of-braces", "{" * 5 * MILLION)
wrong_type("5-mb-first-name", line(firstName=f'"{FIRST * 625_000}"', status='"OK"'), shows=("OK",))
ESCAPES = r"\"" * 2_500_000
wrong_type("5-mb-of-escapes-in-name", line(firstName=f'"{ESCAPES}{FIRST}"', status='"OK"'))
blank("5-mb-of-blanks", " " * 5 * MILLION)

# --- types

for name in NUMBERS:
    wrong_type(f"{name}-as-text", line(**{name: f'"{FIELDS[name]}"'}))
    wrong_type(f"{name}-as-empty-text", line(**{name: '""'}))
    wrong_type(f"{name}-as-true", line(**{name: "true"}))
    wrong_type(f"{name}-as-object", line(**{name: '{"value": 1}'}))
    wrong_type(f"{name}-as-list", line(**{name: f"[{FIELDS[name]}]"}))
    words = line(**{name: '"five"'})
    wrong_type(f"{name}-as-words", words, shows=(f'"{name}": "five"', '"Paper Song"'))
for name in WHOLE_NUMBERS:
    wrong_type(f"{name}-with-fraction", line(**{name: "1539000000000.5"}))
    wrong_type(f"{name}-of-30-digits", line(**{name: "9" * 30}))
    wrong_type(f"{name}-with-point", line(**{name: "1539000000000.0"}))
    wrong_type(f"{name}-with-exponent", line(**{name: "1e15"}))
    wrong_type(f"{name}-1e400", line(**{name: "1e400"}))
    wrong_type(f"{name}-beyond-bigint", line(**{name: "9223372036854775808"}))
    # the reader's limit is 1000 digits
    not_json(f"{name}-of-2000-digits", line(**{name: "9" * 2000}))
wrong_type("item-beyond-int", line(itemInSession="2147483648"))
wrong_type("item-negative", line(itemInSession="-1"))
wrong_type("status-beyond-int", line(status="2147483648"))
wrong_type("status-negative", line(status="-200"))
wrong_type("ts-as-date", line(ts='"2018-10-08T12:00:00Z"'))
wrong_type("length-as-nan-text", line(length='"NaN"'))
for name in TEXTS:
    column = COLUMNS.get(name, name)
    staged(f"{name}-as-number", line(**{name: "78"}), **{column: "78"})
    if name != "userId":
        staged(f"{name}-as-true", line(**{name: "true"}), **{column: "true"})
    wrong_type(f"{name}-as-object", line(**{name: f'{{"of": "{FIRST}"}}'}))
    wrong_type(f"{name}-as-empty-object", line(**{name: "{}"}))
    wrong_type(f"{name}-as-list", line(**{name: f'["{LAST}"]'}))
    wrong_type(f"{name}-as-empty-list", line(**{name: "[]"}))
    wrong_type(f"{name}-as-list-of-numbers", line(**{name: "[1]"}))
    wrong_type(f"{name}-as-list-of-objects", line(**{name: f'[{{"of": "{FIRST}"}}]'}))
    wrong_type(f"{name}-as-object-and-a-blank", line(**{name: f'{{ "firstName": "{FIRST}"}}'}))
wrong_type("song-as-list-of-lists", line(song=f'[["{LAST}"]]'))
wrong_type("song-and-object", line(', "song": {"a": 1}'))

# --- rules

rejected("ts-null", "missing_timestamp", line(ts="null"))
rejected("ts-absent", "missing_timestamp", line(ts=None), shows=("Paper Song",))
for what, value in {
    "before-1970": "-1", "negative": "-1539000000000", "1970": "0", "minus-zero": "-0",
    "in-seconds": "1539000000", "in-microseconds": "1539000000000000",
    "end-of-1999": "946684799999", "start-of-2100": "4102444800000", "largest": f"{2**63 - 1}",
}.items():  # fmt: skip
    rejected(f"ts-{what}", "timestamp_out_of_range", line(ts=value))
rejected("ts-start-of-2000", "far_from_the_log", line(ts="946684800000"), shows=("Paper",))
rejected("ts-end-of-2099", "later_than_its_file", line(ts="4102444799999"), shows=("41024447",))
rejected("ts-3-years-early", "far_from_the_log", line(ts="1444~000"), shows=("2015", "Paper"))
rejected("ts-3-years-late", "far_from_the_log", line(ts="1634~000"), shows=("2021", "Paper Song"))
for what, page in {"null": "null", "absent": None, "empty": '""', "blank": '"  "'}.items():
    rejected(f"page-{what}", "missing_page", line(page=page))
rejected("session-null", "missing_session", line(sessionId="null"))
rejected("session-absent", "missing_session", line(sessionId=None))
rejected(
    "length-negative", "length_out_of_range", line(length="-0.001"), shows=("-0.001", "Paper Song")
)
rejected("length-over-a-day", "length_out_of_range", line(length="86400.001"))
rejected("length-1e15", "length_out_of_range", line(length="1e15"))
rejected("length-1e400", "length_out_of_range", line(length="1e400"))
for what, value in {
    "1970": "0", "minus-zero": "-0.0", "before-1970": "-1", "in-seconds": "1536000000",
    "end-of-1999": "946684799999", "2100": "4102444800000", "1e15": "1e15", "1e400": "1e400",
}.items():  # fmt: skip
    rejected(f"registration-{what}", "registration_out_of_range", line(registration=value))
wrong_type("registration-fraction", line(registration="1536000000000.9"))
staged("registration-2000", line(registration="946684800000"), registered_at="2000-01-01 00:00:00")
staged(
    "registration-2099", line(registration="4102444799999"),
    registered_at="2099-12-31 23:59:59.999000",
)  # fmt: skip
staged("registration-float", line(registration="1536000000000.0"), registered_at=REGISTERED)
staged("registration-exponent", line(registration="1.536e12"), registered_at=REGISTERED)
staged("registration-after-event", line(registration="1545000000000"), user_id="77")
for name in ["auth", "method", "status", "level", "itemInSession", "location", "userAgent",
             "registration", "gender", "artist", "song", "length"]:  # fmt: skip
    column = COLUMNS.get(name, name)
    staged(f"{name}-absent", line(**{name: None}), **{column: None}, user_id="77")
    staged(f"{name}-null", line(**{name: "null"}), **{column: None}, user_id="77")
for name in ["auth", "method", "location", "userAgent", "gender", "artist", "song"]:
    staged(f"{name}-empty", line(**{name: '""'}), **{COLUMNS.get(name, name): ""})
for what, user in {"absent": None, "null": "null", "empty": '""', "blank": '" "'}.items():
    staged(f"user-{what}", line(userId=user), user_id=None)
NOTHING = ["nan", "NaN", "None", "null", "NULL", "nil", "undefined", "<NA>", r"\\N", " null "]
for number, text in enumerate(NOTHING):
    staged(f"user-nothing-{number}", line(userId=f'"{text}"'), user_id=None)
staged("user-whose-name-begins-with-nan", line(userId='"nancy"'), user_id="nancy")
staged("user-with-blanks", line(userId='" 77 "'), user_id="77")
staged("user-as-float", line(userId="77.0"), user_id="77")
staged("user-as-float-in-a-text", line(userId='"77.0"'), user_id="77")
staged("user-with-exponent", line(userId="7.7e1"), user_id="77")
staged("user-as-large-float", line(userId="1.2345678e7"), user_id="12345678")
staged("user-with-a-point", line(userId='"ann.0"'), user_id="ann.0")
wrong_type("user-true", line(userId="true"))
wrong_type("user-false", line(userId="false"))
wrong_type("user-true-in-a-text", line(userId='"True"'))
wrong_type("user-with-fraction", line(userId="77.5"))
wrong_type("user-with-fraction-in-a-text", line(userId='"77.5"'))

# as the log writes it: `user_id` is a text, and nothing says that an id is a number
staged("user-with-zeros", line(userId='"077"'), user_id="077")
staged("user-with-words", line(userId='"ann@example.com"'), user_id="ann@example.com")
staged("user-of-30-digits", line(userId="9" * 30), user_id="9" * 30)
NO_PROFILE = dict.fromkeys(["registration", "gender", "firstName", "lastName"], "null")
staged("pseudo-user", line(userId='"1261737"', **NO_PROFILE), user_id=None)
staged("pseudo-user-absent", line(userId='"1261737"', registration=None, gender=None), user_id=None)
# on the first date of the log, so that its finding is the first
KARAOKE = line(ts="1538~000", page='"Karaoke"')
staged("page-unknown", KARAOKE, page="Karaoke", page_category="unknown")
staged("page-in-small-letters", line(page='"nextsong"'), page_category="unknown")
staged("no-level", line(level="null"), level=None, is_paid=False)
staged("level-unknown", line(level='"gold"'), level="gold", is_paid=False)
staged("level-in-capitals", line(level='"PAID"'), level="paid", is_paid=True)
staged("level-with-blanks", line(level='" Free "'), level="free", is_paid=False)
staged("level-empty", line(level='""'), level=None, is_paid=False)
staged("level-blank", line(level='"  "'), level=None, is_paid=False)
staged("upgrade", line(page='"Submit Upgrade"', level='"free"'), level="free", is_paid=True)
staged("downgrade", line(page='"Submit Downgrade"'), level="paid", is_paid=False)
staged("names-in-other-letters", line(f', "firstname": "{FIRST}", "lastname": "{LAST}"'))
staged("names-absent", line(firstName=None, lastName=None), song="Paper Song")
staged("names-as-objects", line(firstName="{}", lastName="[1]"), song="Paper Song")
staged("agent-in-quotes", line(userAgent=r'"\"Mozilla\""'), user_agent="Mozilla")
staged("only-what-is-needed", '{"ts": 1539~000, "sessionId": ~, "page": "Home"}', user_id=None)

# --- names in lines that are kept

wrong_type("name-escaped-key", line(', "first\\u004eame": "Zaphirel"', status='"OK"'))
wrong_type(
    "name-wholly-escaped-key", line(', "\\u0066\\u0069rst\\u004Eame": "Zaphirel"', status='"OK"')
)
wrong_type("name-far-from-colon", line(', "firstName"      :      "Zaphirel"', status='"OK"'))
wrong_type("name-with-underscore", line(', "FIRST_NAME": "Zaphirel"', status='"OK"'))
wrong_type("name-in-object", line(', "firstName": {"a": {"b": 1}, "c": "Zaphirel"}', status='"OK"'))
wrong_type("name-in-list", line(', "lastName": [["x"], "Quorvane"]', status='"OK"'))
wrong_type("name-behind-brace-in-text", line(', "lastName": ["}", "Quorvane"]', status='"OK"'))
wrong_type("name-with-quote", line(r', "lastName": "x\" Quorvane"', status='"OK"'))
wrong_type("name-with-two-backslashes", line(r', "lastName": "Quorvane\\"', status='"OK"'))
not_json("name-in-single-quotes", line(", 'lastName': 'x\" Quorvane'"))
not_json("name-in-escaped-json", line(r', "x": "{\"lastName\": \"Quorvane\"}"') + "}")
not_json("name-in-twice-escaped-json", line(r', "x": "{\\\"lastName\\\": \\\"Quorvane\\\"}"') + "}")

# --- one event, written in two ways

duplicate("same-line-twice", f"{GOOD}\n{GOOD}")
duplicate("other-names", GOOD + "\n" + line(firstName='"Ann"', lastName="null"))
duplicate("other-blanks", GOOD + "\n" + GOOD.replace(": ", ":"))
duplicate("other-order", GOOD + "\n" + REVERSED)
duplicate("other-field-not-read", GOOD + "\n" + line(', "x": 1'))
duplicate("other-registration-type", GOOD + "\n" + line(registration="1536000000000.0"))
duplicate("other-length-digits", GOOD + "\n" + line(length="200.50"))
duplicate("other-user-type", GOOD + "\n" + line(userId="77"))
duplicate("other-user-fraction", GOOD + "\n" + line(userId="77.0"))
duplicate("other-user-blanks", GOOD + "\n" + line(userId='" 77"'))
duplicate("other-escapes", GOOD + "\n" + GOOD.replace("Paper", r"\u0050aper"))
duplicate("other-zero", line(length="0") + "\n" + line(length="-0.0"))
duplicate("null-and-absent", line(artist="null") + "\n" + line(artist=None))
duplicate("other-line-end", GOOD + "\r\n" + GOOD)
staged("other-item", GOOD + "\n" + line(itemInSession="4"), events=2)
staged("user-null-and-empty", line(userId="null") + "\n" + line(userId='""'), events=2)
