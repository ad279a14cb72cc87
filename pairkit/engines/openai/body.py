"""The body of an answer, read within bounds: whatever a server sends, a call takes little memory.

Unpacking is done here and not by aiohttp, whose older versions unpack all of what they have received.
"""

from __future__ import annotations

import zlib

import aiohttp

# The encodings that are asked for; a server that takes another one is not read.
ENCODINGS = "gzip, deflate"
# Bytes of a body as it comes and unpacked, and values in its JSON, each with more per token that was asked
# for: a token may be an event of its own in a stream.
_BYTES, _BYTES_PER_TOKEN = 8 * 2**20, 1024
# A value takes 72 bytes of memory at most, and three of the body.
_VALUES, _VALUES_PER_TOKEN = 2**20, 64
_MEMBERS = 64  # of a gzip file, which may be several in a row


class AnswerError(Exception):
    """An answer that has begun with the status `status`, and cannot be read: why."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.status = status


def most_bytes(tokens: int) -> int:
    """Return the size at which an answer to a request for so many tokens is refused."""
    return _BYTES + _BYTES_PER_TOKEN * tokens


async def read_body(answer: aiohttp.ClientResponse, tokens: int) -> bytes:
    """Read and unpack the body of an answer to a request for at most `tokens` tokens.

    Raises `AnswerError` for one that is too large, packed in another way than `ENCODINGS`, or broken off.
    """
    most = most_bytes(tokens)
    received = bytearray()
    try:
        async for part in answer.content.iter_any():
            received += part
            if len(received) > most:
                raise ValueError(f"the answer is larger than {most:,} bytes")
        content = _unpacked(bytes(received), answer.headers.getall("Content-Encoding", []), most)
    except TimeoutError as error:
        raise AnswerError("the answer did not end in time", answer.status) from error
    except (aiohttp.ClientError, OSError) as error:
        raise AnswerError(f"the answer broke off ({type(error).__name__})", answer.status) from error
    except (ValueError, zlib.error) as error:
        raise AnswerError(str(error), answer.status) from error
    if too_many := too_many_values(content, tokens):
        raise AnswerError(too_many, answer.status)
    return content


def too_many_values(content: bytes, tokens: int) -> str:
    """Return why JSON of an answer to a request for so many tokens is not read; "" where it is."""
    values = content.count(b",") + content.count(b"[") + content.count(b"{")
    return f"the answer has {values:,} values" if values > _VALUES + _VALUES_PER_TOKEN * tokens else ""


def _unpacked(content: bytes, encodings: list[str], most: int) -> bytes:
    """Undo the encodings of a body. Raises `ValueError` or `zlib.error` for what cannot be read."""
    names = [name.strip().lower() for line in encodings for name in line.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    # Some gateways name an encoding and send none.
    if not names or not content or content.lstrip()[:1] in (b"{", b"["):
        return content
    if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"the answer is packed as {', '.join(names)[:40]!r}, which was not asked for")
    # "deflate" is zlib's format by the standard, and the bare one in some servers.
    bare = names[0] == "deflate" and not _is_zlib(content)
    whole = bytearray()
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
        whole += member.decompress(content, most + 1 - len(whole))
        if len(whole) > most:
            raise ValueError(f"the answer is larger than {most:,} bytes when unpacked")
        if not member.eof:
            raise ValueError("the answer broke off (its packed body has no end)")
        content = member.unused_data
        if not content:
            return bytes(whole)
    raise ValueError(f"the answer has more than {_MEMBERS} packed parts")


def _is_zlib(content: bytes) -> bool:
    return content[0] & 15 == 8 and int.from_bytes(content[:2], "big") % 31 == 0
