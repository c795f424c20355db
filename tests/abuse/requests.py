"""Requests: bodies that are not JSON, not objects or of wrong types; identifiers; URLs of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

from abuse.items import FAILED, REFUSED, SUCCEEDED, Item, Request, expected

DEEP = 100_000

BODIES: dict[str, str] = {
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "a string": '"smile"',
    "nothing": "",
    "half an object": "{",
    "an object without end": '{"input": {"image": "data:,',
    "no JSON but a form": "image=data&motion=smile",
    "XML": "<input><image/></input>",
    "a list of lists of lists": "[" * DEEP,
    "objects in objects": '{"input":' * 500 + "1" + "}" * 500,
    "deep input": '{"input": {"image": ' + "[" * 120 + "]" * 120 + "}}",
    "the same name twice": '{"input": {}, "input": {}}',
    "a byte order mark": '\ufeff{"input": {}}',
    "half a surrogate": '{"input": {"image": "\\ud800"}}',
    "a number beyond double": '{"input": {"strength": 1e999}}',
    "NaN": '{"input": {"strength": NaN}}',
    "−Infinity": '{"input": {"strength": -Infinity}}',
    "a whole number of 10,000 digits": '{"input": {"seed": ' + "9" * 10_000 + "}}",
    "100,000 unknown fields": json.dumps({f"field{i}": i for i in range(100_000)}),
    "100,000 unknown inputs": json.dumps({"input": {f"field{i}": i for i in range(100_000)}}),
    "input is a list": '{"input": []}',
    "input is a number": '{"input": 5}',
    "input is a string": '{"input": "image"}',
    "input is null": '{"input": null}',
    "no input": "{}",
    "the identifier is a number": '{"id": 5, "input": {"image": "x"}}',
    "the webhook is a number": '{"webhook": 5, "input": {"image": "x"}}',
    "an unknown event": '{"webhook_events_filter": ["x"], "input": {"image": "x"}}',
    "the events are null": '{"webhook_events_filter": null, "input": {"image": "x"}}',
    "the context is null": '{"context": null, "input": {"image": "x"}}',
    "the context is no map of strings": '{"context": {"a": 1}, "input": {"image": "x"}}',
}

VALUES: list[tuple[str, object]] = [
    ("image", 5),
    ("image", None),
    ("image", []),
    ("image", {"path": "/etc/passwd"}),
    ("image", True),
    ("motion", "grin"),
    ("motion", ["smile"]),
    ("motion", "smile\0"),
    ("motion", "../../smile"),
    ("motion_file", 5),
    ("strength", "1"),
    ("strength", 5.0001),
    ("strength", -1e308),
    ("strength", True),
    ("frames", 0),
    ("frames", 601),
    ("frames", 10**18),
    ("frames", 2.5),
    ("frames", "90"),
    ("frames", [90]),
    ("fps", 0),
    ("fps", -30),
    ("fps", 1e300),
    ("seed", -2),
    ("seed", 2**32),
    ("seed", 2**64),
    ("seed", 0.5),
    ("face", -1),
    ("face", 100),
    ("refine", 201),
    ("refine", {}),
    ("lock_identity", "yes"),
    ("lock_identity", 1),
    ("compare", None),
    ("frame", "../photo"),
    ("loop", "for ever"),
    ("easing", ["linear"]),
    ("timeline", {"smile": 1}),
    ("timeline", "1s smile, " * 201),
    ("output_format", "avi"),
    ("output_format", "mp4; rm -rf /"),
    ("template", 5),
    ("micromotion", {"smile": 1}),
    ("scale", 10**18),
    ("template", "{degree}" * 26),
]

IDENTIFIERS = {
    "of 300 characters": "x" * 300,
    "of 100,000 characters": "x" * 100_000,
    "with a zero byte": "a\0b",
    "that climbs": "../../../climbed",
    "that is a path": "/climbed/away",
    "in a folder": "a/b",
    "that is a folder": "..",
    "with a line's end": "a\nb",
    "with markup": "<script>",
    "of 100 letters outside ASCII": "é" * 200,
}

NO_PICTURES: dict[str, str] = {
    "nothing": "",
    "a word": "photo",
    "a path of the server": "/etc/passwd",
    "a relative path": "../../etc/passwd",
    "a file URL": "file:///etc/passwd",
    "a file URL in capitals": "FILE:///etc/passwd",
    "an FTP URL": "ftp://127.0.0.1/a.png",
    "gopher": "gopher://127.0.0.1:25/_HELO",
    "a zero byte": "\0",
    "a million characters": "x" * 1_000_000,
    "data: alone": "data:",
    "data: without a comma": "data:image/png",
    "data: in base64 without padding": "data:image/png;base64,AAA",
    "data: in base64 that is cut off": "data:image/png;base64,AAAAA",
    "data: in base64 for URLs": "data:image/png;base64,-_-_",
    "data: in base64 twice": "data:image/png;base64,QQ==QQ==",
    "data: in capitals": "DATA:IMAGE/PNG;BASE64,AAAA",
    "data: after a blank": " data:image/png;base64,AAAA",
    "data: with parameters": 'data:image/png;name="a%20b.png";charset=utf-8; base64,AAAA',
    "data: of no kind": "data:None;base64,AAAA",
    "data: with base64 amid the parameters": "data:image/png;base64;a=b,AAAA",
    "data: with a fragment": "data:image/png;base64,AAAA#AAAA",
    "data: of nothing but blanks": "data:image/png;base64, \n%0A",
    "data: before which stands more": "xdata:image/png;base64,AAAA",
    "data: in what is no base64": "data:image/png;base64,####",
    "data: of nothing": "data:image/png;base64,",
    "data: in percent signs": "data:,%00%ff%zz",
    "data: of an impossible kind": "data:../../../etc/passwd;base64,QUFBQQ==",
    "data: of a kind of 100,000 letters": "data:image/" + "x" * 100_000 + ";base64,QUFBQQ==",
    "data: of HTML": "data:text/html,<script>alert(1)</script>",
    "no host": "http://",
    "half an IPv6 address": "http://[::1",
    "port 99999": "http://127.0.0.1:99999/a.png",
    "a name that nobody has": "https://nowhere.invalid/a.png",
    "a password in the URL": "http://user:secret@127.0.0.1:1/a.png",
    "a URL of 100,000 characters": "http://127.0.0.1:1/" + "x" * 100_000,
    "a URL with a line's end": "http://127.0.0.1:1/a\r\nHost: b",
}


def requests(photo: str) -> Iterator[Item]:
    """All requests except those that fetch from a server; photo is a good picture as a URL."""
    for name, text in BODIES.items():
        yield Request("requests", f"body: {name}", partial(str, text), expected(REFUSED))
    for number, (name, value) in enumerate(VALUES):
        body: dict[str, object] = {"input": {"image": photo, "frames": 1, name: value}}
        yield Request(
            "requests", f"{name} = {value!r:.30} ({number})", partial(dict, body), expected(REFUSED)
        )
    for name, text in IDENTIFIERS.items():
        body = {"id": text, "input": {"image": photo, "frames": 1}}
        yield Request("requests", f"identifier {name}", partial(dict, body), expected(REFUSED))
    for name, text in NO_PICTURES.items():
        body = {"input": {"image": text, "frames": 1}}
        yield Request("requests", f"picture from {name}", partial(dict, body), expected(FAILED))
    yield from _odd_calls(photo)


def _odd_calls(photo: str) -> Iterator[Item]:
    good = {"image": photo, "frames": 1}
    refused = expected(REFUSED)
    body = partial(dict[str, object], {"input": good})
    text, utf16 = {"content-type": "text/plain"}, {"content-type": "application/json; charset=utf-16"}
    gzip = {"content-encoding": "gzip"}
    yield Request("requests", "text in place of JSON", body, refused, headers=text)
    yield Request("requests", "JSON that claims UTF-16", body, expected(REFUSED, SUCCEEDED), headers=utf16)
    yield Request(
        "requests", "JSON that claims to be packed", body, expected(REFUSED, SUCCEEDED), headers=gzip
    )
    yield Request("requests", "a stream of events", body, refused, headers={"accept": "text/event-stream"})
    yield Request("requests", "an unknown path", body, refused, path="/admin")
    yield Request("requests", "a path that climbs", body, refused, path="/predictions/..%2f..%2fetc/cancel")
    yield Request("requests", "training, which there is none", body, refused, path="/trainings")
    yield Request("requests", "cancel what is not there", dict, refused, path="/predictions/nobody/cancel")
    yield from (
        Request("requests", method, body, refused, method=method)
        for method in ("DELETE", "PATCH", "OPTIONS", "HEAD")
    )
    yield Request("requests", "a method that nobody knows", body, refused, method="PLAY")
    form = {"content-type": "application/x-www-form-urlencoded"}
    yield Request("requests", "JSON that claims to be a form", body, refused, headers=form)
    yield Request("requests", "PUT under another name", partial(dict, {"id": "a", "input": good}), refused,
                  method="PUT", path="/predictions/b")  # fmt: skip
    for path in ("/predictions/", "/predictions//cancel", "/Predictions", "/predictions?a=b"):
        yield Request("requests", f"a path nearby: {path}", body, refused, path=path)
    for name in ("motion_file", "image", "motion", "timeline"):
        long = partial(dict[str, object], {"input": {**good, name: [photo]}})
        yield Request("requests", f"a photo in a list as {name}", long, refused)
    null = partial(dict[str, object], {"id": None, "webhook": None, "input": {**good, "motion_file": None}})
    yield Request("requests", "null where nothing need be", null, expected(SUCCEEDED))
    yield Request("requests", "null where nothing need be, by PUT", null, expected(SUCCEEDED), method="PUT",
                  path="/predictions/null")  # fmt: skip
    yield Request(
        "requests", "PUT to a name that climbs", body, refused, method="PUT", path="/predictions/..%2f..%2fc"
    )
    yield Request(
        "requests",
        "shutdown from afar",
        dict,
        refused,
        path="/shutdown",
        headers={"origin": "http://evil.example"},
    )
    yield Request("requests", "110 MB", lambda: '{"input": {"image": "' + "x" * (110 << 20) + '"}}', refused)
    more = partial(dict[str, object], {"input": {**good, "command": "ls"}})
    yield Request("requests", "an unknown input beside good ones", more, refused)
    hooks = {"a file": "file:///etc/passwd", "no URL": "webhook", "this machine": "http://127.0.0.1:1/hook"}
    for name, url in hooks.items():
        called = partial(dict[str, object], {"webhook": url, "input": good})
        yield Request("requests", f"webhook to {name}", called, refused)


def fetched(base: str) -> Iterator[Item]:
    """Pictures from a misbehaving server on this machine (see `abuse.world`)."""
    for path in (
        "picture.jpg",
        "redirect",
        "loop",
        "slow",
        "drip",
        "endless",
        "hang-up",
        "to-file",
        "missing",
    ):
        body = {"input": {"image": f"{base}/{path}", "frames": 1}}
        yield Request("requests", f"fetched: {path}", partial(dict, body), expected(FAILED), "this machine")
    for host in (
        "169.254.169.254",
        "10.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "localhost",
        "2130706433",
    ):
        body = {"input": {"image": f"http://{host}:1/latest/meta-data", "frames": 1}}
        yield Request("requests", f"fetched: {host}", partial(dict, body), expected(FAILED))
