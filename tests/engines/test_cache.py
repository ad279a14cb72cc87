"""The cache of responses: what it stores of a completion, and files of older versions."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pairkit.engines.base import Call, Completion, Problem, Request, Sampling
from pairkit.engines.cache import Cache, call_key, rows_of
from pairkit.errors import OutputError

SAMPLING = Sampling(0.5, 1.0, 3, 9)
PROMPT = [{"role": "user", "content": "1+1="}]


def call(**fields: str | None) -> Call:
    return Call((Request(PROMPT, (SAMPLING,), **fields),), (0,))


@pytest.mark.parametrize(
    "completion",
    [
        Completion("a", 3, "stop", SAMPLING),
        Completion("", None, "stop", SAMPLING, "hm", '[{"function":{}}]'),
        Completion("a", None, "length", SAMPLING, "hm"),
        Completion("a", 2, "length", SAMPLING, None, None, (5, 7), "0123456789abcdef"),
        Completion("M", 1, "length", SAMPLING, logprobs=(("M", -0.25), ("m", -2.5))),
    ],
)
def test_a_completion_comes_back_as_it_was_stored(tmp_path: Path, completion: Completion) -> None:
    with closing(Cache(tmp_path / "calls.sqlite")) as cache:
        cache.put(b"key", [(completion, completion), Problem("too_long", "9")])
        assert cache.get(b"key") == ((completion, completion), Problem("too_long", "9"))


def test_a_file_of_version_1_is_read_and_extended(tmp_path: Path) -> None:
    """The key and the rows are written here as version 1 wrote them."""
    file = tmp_path / "calls.sqlite"
    identity = {"engine": "openai", "model": "m", "extra_body": {}}
    asked = [identity, [[PROMPT, [list(SAMPLING)]]]]
    text = json.dumps(asked, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    key = hashlib.sha256(text.encode()).digest()
    with closing(sqlite3.connect(file)) as old:
        old.execute("CREATE TABLE calls (key BLOB PRIMARY KEY, failed INTEGER, results TEXT) WITHOUT ROWID")
        old.execute(
            "INSERT INTO calls VALUES (?, 0, ?)", (key, json.dumps([[["2", 5, "stop", list(SAMPLING)]]]))
        )
        old.execute("PRAGMA user_version = 1")
        old.commit()
    assert call_key(identity, call()) == key
    new = Completion("", 2, "stop", SAMPLING, None, "[]")
    with closing(Cache(file)) as cache:
        assert cache.get(key) == ((Completion("2", 5, "stop", SAMPLING),),)
        cache.put(b"new", [(new,)])
    with closing(Cache(file)) as cache:
        assert cache.get(b"new") == ((new,),)
        assert cache.get(key) is not None
    # A version that cannot write rows with hashes refuses the file.
    with closing(sqlite3.connect(file)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (3,)


def stored(text: str) -> tuple[tuple[Completion], ...]:
    return ((Completion(text, 3, "stop", SAMPLING),),)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[bytes, str]]:
    """A file of the cache, and the texts in it by key."""
    path = tmp_path_factory.mktemp("full") / "calls.sqlite"
    texts = {hashlib.sha256(b"%d" % number).digest(): f"answer {number} " * 30 for number in range(100)}
    with closing(Cache(path)) as cache:
        for key, text in texts.items():
            cache.put(key, stored(text))
    return path, texts


def read_damaged(path: Path, texts: dict[bytes, str]) -> Counter[str]:
    """Read every row and store again what is missing; whatever comes back is what was stored."""
    outcome: Counter[str] = Counter()
    cache = None
    try:
        cache = Cache(path)
        for key, text in texts.items():
            found = cache.get(key)
            assert found in (None, stored(text))
            outcome["found" if found else "missing"] += 1
            if found is None:
                cache.put(key, stored(text))
                assert cache.get(key) == stored(text)
        outcome["damaged"] = cache.damaged
    except OutputError as error:
        outcome["refused"] = str(error).count("choose another --cache")
    finally:
        if cache is not None:
            cache.close()
    return outcome


@pytest.mark.parametrize("files", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_flipped_bits_never_change_an_answer(
    files: int, full: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    """Wherever they are: in a text, a key, a page's header or the schema."""
    content, random = full[0].read_bytes(), Random(files)
    total: Counter[str] = Counter()
    for number in range(files):
        damaged = bytearray(content)
        for _ in range(random.choice([1, 2, 20])):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        path = tmp_path / str(number) / "calls.sqlite"
        path.parent.mkdir()
        path.write_bytes(damaged)
        total += read_damaged(path, full[1])
    assert total["damaged"] >= files
    assert total["found"] > 50 * files
    assert total.keys() <= {"found", "missing", "damaged", "refused"}


def test_rows_that_were_swapped_are_asked_for_again(
    full: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_bytes(full[0].read_bytes())
    first, second = list(full[1])[:2]
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute("SELECT failed, results, hash FROM calls WHERE key = ?", (first,)).fetchone()
        connection.execute("UPDATE calls SET failed=?, results=?, hash=? WHERE key=?", (*row, second))
        connection.commit()
    outcome = read_damaged(path, full[1])
    assert (outcome["found"], outcome["missing"], outcome["damaged"]) == (99, 1, 1)


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 10_000])
def test_a_file_that_was_cut_is_one_line(
    size: int, full: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_bytes(full[0].read_bytes()[:size])
    outcome = read_damaged(path, full[1])
    # To SQLite, a file of a byte is an empty one.
    assert outcome["missing"] == 100 if size < 2 else outcome["refused"] == 1


def test_a_damaged_name_that_is_no_text_is_one_line(
    full: tuple[Path, dict[bytes, str]], tmp_path: Path
) -> None:
    path = tmp_path / "calls.sqlite"
    content = full[0].read_bytes()
    spoiled = content.replace(b"calls", b"c\x82lls").replace(b"CREATE TABLE", b"CREATE TAXLE")
    path.write_bytes(spoiled)
    with pytest.raises(OutputError, match="a name in it is no text; move the file away"):
        Cache(path)
    with pytest.raises(sqlite3.DatabaseError, match="a name in it is no text"):
        list(rows_of(path))


def test_tools_and_arguments_of_the_template_are_part_of_a_key() -> None:
    keys = {
        call_key({}, call(tools=tools, template_kwargs=kwargs))
        for tools in (None, "[]", '[{"a":1}]')
        for kwargs in (None, "{}", '{"a":1}')
    }
    assert len(keys) == 9


def test_log_probs_are_part_of_the_key_where_they_are_requested() -> None:
    identity = {"engine": "openai"}
    keys = {
        call_key(identity, Call((Request(PROMPT, (SAMPLING,), top_logprobs=top),), (0,)))
        for top in (None, 1, 5)
    }
    assert len(keys) == 3
    assert call_key(identity, call()) in keys


def test_answers_of_many_calls_are_stored_at_once(tmp_path: Path) -> None:
    answers = [(b"%d" % number, stored(str(number))) for number in range(450)]
    with closing(Cache(tmp_path / "calls.sqlite")) as cache:
        cache.put_all(answers)
        cache.put_all([])
        # From here on another process has them.
        with closing(Cache(cache.path, read_only=True)) as other:
            assert [other.get(key) for key, _ in answers] == [tuple(results) for _, results in answers]


def test_of_two_answers_to_one_call_the_last_is_stored(tmp_path: Path) -> None:
    with closing(Cache(tmp_path / "calls.sqlite")) as cache:
        cache.put_all([(b"key", stored("a")), (b"key", stored("b"))])
        assert cache.get(b"key") == tuple(stored("b"))
