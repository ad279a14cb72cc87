"""Answers of a server that attacks: what goes over the wire instead of an answer, by the name of the attack.

Each yields bytes, and seconds to wait between them. Those that have no end go on until the client leaves.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

Wire = Iterator[bytes | float]
Attack = Callable[[dict[str, Any]], Wire]
MB = 2**20
OK = "HTTP/1.1 200 OK"


def head(*lines: str, status: str = OK) -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode()


def body(content: bytes, *lines: str, status: str = OK) -> bytes:
    return head(*lines, f"content-length: {len(content)}", status=status) + content


def plain(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode()


def sent(make: Callable[[bytes], bytes]) -> Attack:
    """Make an attack that is one piece, of the JSON of the true answer."""
    return lambda answer: iter([make(plain(answer))])


def with_body(make: Callable[[bytes], bytes], *lines: str, status: str = OK) -> Attack:
    return sent(lambda content: body(make(content), *lines, status=status))


def changed(change: Callable[[dict[str, Any]], Any]) -> Attack:
    """Make an attack that changes the answer's JSON."""

    def attack(answer: dict[str, Any]) -> Wire:
        found = change(answer)
        yield body(plain(answer if found is None else found))

    return attack


def endless(first: bytes, piece: bytes, pause: float = 0.0) -> Attack:
    def attack(_: dict[str, Any]) -> Wire:
        yield first
        while True:
            yield piece
            yield pause

    return attack


def endless_headers(_: dict[str, Any]) -> Wire:
    yield f"{OK}\r\n".encode()
    for number in count():
        yield f"x-{number}: {'a' * 60}\r\n".encode()


def bomb(name: str, wbits: int) -> Attack:
    """Make 4 GB from 4 MB: a block of 16 MB of one letter that refers to nothing before it, 256 times."""

    def attack(_: dict[str, Any]) -> Wire:
        packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
        first = packer.compress(b'{"choices": [{"message": {"content": "') + packer.flush(zlib.Z_FULL_FLUSH)
        block = packer.compress(b"a" * 16 * MB) + packer.flush(zlib.Z_FULL_FLUSH)
        yield body(first + block * 256, f"content-encoding: {name}")

    return attack


def first_choice(answer: dict[str, Any], **fields: Any) -> None:
    answer["choices"][0] |= fields


def text(value: Any) -> Attack:
    return changed(lambda answer: first_choice(answer, message={"role": "assistant", "content": value}))


def cut(bytes_sent: int) -> Attack:
    """Make an attack that closes after some bytes, before the last one in any case."""

    def attack(answer: dict[str, Any]) -> Wire:
        yield body(plain(answer), "content-type: application/json")[:-1][:bytes_sent]

    return attack


def twice(answer: dict[str, Any]) -> Wire:
    """Answer, and later once more, with what could be the answer to the next request."""
    yield body(plain(answer))
    yield 0.05
    choices = [one | {"message": {"role": "assistant", "content": "Of another"}} for one in answer["choices"]]
    yield body(plain(answer | {"choices": choices}))


def cookies(answer: dict[str, Any]) -> Wire:
    yield body(plain(answer), *(f"set-cookie: c{number}=v; path=/" for number in range(100)))


def odd_usage(prompt: Any, completion: Any) -> Attack:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return changed(lambda answer: answer | {"usage": usage})


EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
CHUNKED = head("transfer-encoding: chunked")
UNTIL_CLOSED = head("connection: close", status="HTTP/1.0 200 OK")
# Those with a way to refuse them at once.
QUICK: dict[str, Attack] = {
    # Size, as it comes and unpacked.
    "large": with_body(lambda _: b'{"choices": "' + b"a" * 20 * MB),
    "large_text": text("a" * 20 * MB),
    "endless": endless(UNTIL_CLOSED, b"a" * MB),
    "endless_spaces": endless(UNTIL_CLOSED, b" " * MB),
    "endless_chunks": endless(CHUNKED, b"100000\r\n" + b"a" * MB + b"\r\n"),
    "endless_events": endless(UNTIL_CLOSED, EVENT * 1000),
    "endless_event": endless(UNTIL_CLOSED + b"data: ", b"a" * MB),
    "endless_error": endless(head(status="HTTP/1.0 500 Oh"), b"a" * MB),
    "gzip_bomb": bomb("gzip", 31),
    "zlib_bomb": bomb("deflate", 15),
    "deflate_bomb": bomb("deflate", -15),
    "gzip_twice": with_body(lambda one: gzip.compress(gzip.compress(one)), "content-encoding: gzip, gzip"),
    "gzip_two_lines": with_body(gzip.compress, "content-encoding: gzip", "content-encoding: gzip"),
    "gzip_members": with_body(lambda one: gzip.compress(b"") * 100_000 + one, "content-encoding: gzip"),
    "gzip_cut": with_body(lambda one: gzip.compress(one)[:-9], "content-encoding: gzip"),
    "gzip_flipped": with_body(
        lambda one: gzip.compress(one)[:-6] + b"\0" + gzip.compress(one)[-5:], "content-encoding: gzip"
    ),
    "no_gzip": with_body(lambda one: b"\x01" + one, "content-encoding: gzip"),
    "brotli": with_body(lambda one: b"\x0b" + one, "content-encoding: br"),
    "zstd": with_body(lambda one: b"\x28\xb5\x2f\xfd" + one, "content-encoding: zstd"),
    "odd_encoding": with_body(lambda one: b"\x01" + one, f"content-encoding: {'x' * 5000}"),
    # Heads.
    "endless_headers": endless_headers,
    "endless_header": endless(f"{OK}\r\nx: ".encode(), b"a" * MB),
    "endless_status": endless(b"HTTP/1.1 200 ", b"a" * MB),
    "no_http": sent(lambda _: b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "nothing": sent(lambda _: b""),
    "zeros": sent(lambda _: b"\0" * 1000),
    "tls": sent(lambda _: bytes.fromhex("15030100020246") * 10),
    "header_of_bytes": with_body(lambda one: one[:-1], "x: \xff\xfe\0"),
    "status_of_words": with_body(lambda one: one, status="HTTP/1.1 OK 200"),
    "status_negative": with_body(lambda one: one, status="HTTP/1.1 -200 OK"),
    "version": with_body(lambda one: one, status="HTTP/9.9 200 OK"),
    "length_too_long": sent(lambda one: head(f"content-length: {len(one) + 9}") + one),
    "length_too_short": sent(lambda one: head(f"content-length: {len(one) - 9}") + one),
    "length_negative": sent(lambda one: head("content-length: -1") + one),
    "length_huge": sent(lambda one: head(f"content-length: {10**30}") + one),
    "length_of_words": sent(lambda one: head("content-length: many") + one),
    "two_lengths": sent(lambda one: head("content-length: 5", f"content-length: {len(one)}") + one),
    "chunk_of_words": sent(lambda one: CHUNKED + b"zz\r\n" + one),
    "chunk_negative": sent(lambda one: CHUNKED + b"-5\r\n" + one),
    "chunk_huge": sent(lambda one: CHUNKED + b"f" * 40 + b"\r\n" + one),
    "chunk_cut": sent(lambda one: CHUNKED + f"{len(one):x}\r\n".encode() + one[:-3]),
    "switched": sent(lambda one: head("upgrade: websocket", status="HTTP/1.1 101 Go") + one),
    # Statuses without an answer.
    "no_content": sent(lambda _: head(status="HTTP/1.1 204 No Content")),
    "reset_content": with_body(lambda _: b"", status="HTTP/1.1 205 Reset"),
    "not_modified": sent(lambda _: head(status="HTTP/1.1 304 Not Modified")),
    "choices_of_places": with_body(lambda _: b"", status="HTTP/1.1 300 Many"),
    **{
        f"status_{status:03}": with_body(lambda one: one, status=f"HTTP/1.1 {status:03} Odd")
        for status in (0, 199, 202, 203, 206, 207, 226, 299)
    },
    "accepted": with_body(lambda _: b'{"status": "queued"}', status="HTTP/1.1 202 Accepted"),
    # JSON that is none, or of another form.
    "empty": with_body(lambda _: b""),
    "html": with_body(lambda _: b"<html>Welcome</html>", "content-type: text/html"),
    "null": with_body(lambda _: b"null"),
    "number": with_body(lambda _: b"1e999"),
    "digits": with_body(lambda _: b'{"choices": ' + b"9" * 100_000 + b"}"),
    "deep": with_body(lambda _: b'{"choices": ' + b"[" * 500_000),
    "deep_text": text(json.loads("[" * 900 + "]" * 900)),
    "many_values": with_body(lambda _: b'{"choices": [' + b"[]," * 2 * MB),
    "utf_16": with_body(lambda one: one[:-1].decode().encode("utf-16")),
    "bytes": with_body(lambda one: one.replace(b"choices", b"choices\xff\xfe")),
    "two_objects": with_body(lambda one: one + one),
    "choices_object": changed(lambda answer: {"choices": {"0": answer["choices"][0]}}),
    "choices_twice": with_body(lambda one: one[:-1] + b', "choices": []}'),
    "too_many": changed(lambda answer: {"choices": answer["choices"] * 40_000}),
    "choice_number": changed(lambda answer: answer["choices"].__setitem__(0, 7)),
    "text_number": text(7),
    "text_true": text(True),
    "text_null": text(None),
    "no_message": changed(lambda answer: first_choice(answer, message=[])),
    "calls_of_words": changed(lambda answer: first_choice(answer, message={"tool_calls": "f(x)"})),
    "events_cut": with_body(lambda _: EVENT * 3),
    "events_no_json": with_body(lambda _: EVENT + b"data: {]\n\ndata: [DONE]\n\n"),
    "events_of_lists": with_body(lambda _: b"data: [1, 2]\n\ndata: [DONE]\n\n"),
    "error_half_letter": with_body(lambda _: b'{"error": {"message": "busy \\ud800", "code": 503}}'),
    "error_code_of_digits": with_body(lambda _: b'{"error": {"code": "' + b"9" * 9000 + b'"}}'),
    **{f"cut_{place}": cut(place) for place in range(9, 400, 60)},
}  # fmt: skip
PLACES = ("/v1/chat/completions", "//127.0.0.1:9/v1", "file:///etc/passwd", "https://127.0.0.1/" + "a" * 5000)
# A server that is somewhere else; 307 repeats the request there.
REDIRECTS: dict[str, Attack] = {
    f"redirect_{status}_{number}": with_body(
        lambda _: b"moved", f"location: {place}", status=f"HTTP/1.1 {status} Moved"
    )
    for status in (301, 307)
    for number, place in enumerate(PLACES)
}
# Those that end with the time of a try.
SLOW: dict[str, Attack] = {
    "drip": endless(head("content-length: 100000"), b" ", 0.05),
    "drip_head": endless(b"HTTP/1.1 ", b"2", 0.05),
    "drip_chunks": endless(CHUNKED, b"1\r\n \r\n", 0.05),
    "comments": endless(UNTIL_CLOSED, b": still working\n\n", 0.05),
    "continue": endless(b"", head(status="HTTP/1.1 100 Continue"), 0.01),
    "hints": endless(b"", head(status="HTTP/1.1 103 Early Hints") * 500),
    "endless_extension": endless(CHUNKED + b"5;x=", b"a" * 1000, 0.01),
    "endless_trailers": endless(CHUNKED + b"0\r\n", b"x: a\r\n", 0.01),
    "silence": endless(b"", b"", 0.05),
}
# Those that hold an answer, after which the connection stays open.
ANSWERED: dict[str, Attack] = {
    "twice": twice,
    "cookies": cookies,
    "gzip": with_body(gzip.compress, "content-encoding: gzip"),
    "gzip_in_two": with_body(
        lambda one: gzip.compress(one[:9]) + gzip.compress(one[9:]), "content-encoding: x-gzip"
    ),
    "deflate": with_body(zlib.compress, "content-encoding: deflate"),
    "bare_deflate": with_body(lambda one: zlib.compress(one)[2:-4], "content-encoding: deflate"),
    "named_only": with_body(lambda one: one, "content-encoding: gzip"),
    "identity": with_body(lambda one: one, "content-encoding: identity"),
    "created": with_body(lambda one: one, status="HTTP/1.1 201 Created"),
    "no_type": with_body(lambda one: one, "content-type: image/png"),
    "hint": sent(lambda one: head(status="HTTP/1.1 103 Early Hints") + body(one)),
    "bytewise": sent(
        lambda one: CHUNKED + b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in one) + b"0\r\nx: y\r\n\r\n"
    ),
    "keys_twice": with_body(lambda one: b'{"choices": [], "usage": 3, ' + one[1:]),
    **{
        f"usage_{name}": odd_usage(prompt, completion)
        for name, (prompt, completion) in {
            "negative": (-(10**6), -(10**6)),
            "none": (0, 0),
            "huge": (10**30, 10**30),
            "more": (10**8, 10**8),
            "infinite": (float("inf"), float("nan")),
            "float": (1e3, 1.5),
            "text": ("12", "12"),
            "true": (True, True),
            "list": ([1], {"a": 1}),
        }.items()
    },
}
# One per byte of an answer and its head, or more.
BREAKS = {f"at_{place}": cut(place) for place in range(1000)}
ATTACKS = BREAKS | QUICK | SLOW | ANSWERED | REDIRECTS
