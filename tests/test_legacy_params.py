"""What lies beside an old model: JSON, or a pickle of plain data, of which nothing is ever run."""

from __future__ import annotations

import collections
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.params import read_params
from tests.keras_models import KERAS

PLAIN = {
    "char_to_int": {"\n": 0, "A": 1}, "int_to_char": {0: "\n", 1: "A"}, "sizes": [1, 2.5, None, True, -(2**70)],
    "deep": {"a": [[[]]]},
}


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_params(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_of_every_protocol(protocol: int, tmp_path: Path) -> None:
    assert read_params(write(tmp_path / "p.pkl", pickle.dumps(PLAIN, protocol))) == PLAIN


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "i8", "u1", "?", ">f4"])
def test_arrays_become_lists(kind: str, protocol: int, tmp_path: Path) -> None:
    values = np.arange(12).reshape(3, 4).astype(kind)
    found = {"c": values, "fortran": np.asfortranarray(values), "one": values[1, 2], "none": np.zeros((0, 3), kind)}
    path = write(tmp_path / "p.pkl", pickle.dumps(found, min(protocol, 4)))
    assert read_params(path) == {name: array.tolist() for name, array in found.items()}


def test_tuples_sets_and_bytes_become_plain(tmp_path: Path) -> None:
    path = write(tmp_path / "p.pkl", pickle.dumps({"t": (1, 2), "s": {3}, "b": b"ab\xff"}, 4))
    assert read_params(path) == {"t": [1, 2], "s": [3], "b": "ab\xff"}


def test_json_of_any_name(tmp_path: Path) -> None:
    for name in ("params.json", "params.txt"):
        assert read_params(write(tmp_path / name, b' {"a": [1, 2]}')) == {"a": [1, 2]}


def test_the_maps_of_the_old_program() -> None:
    maps = read_params(KERAS / "hoyomusic_mappings.pkl")
    assert len(maps["char_to_int"]) == len(maps["int_to_char"]) == maps["vocab_size"] == 44
    assert all(maps["int_to_char"][number] == char for char, number in maps["char_to_int"].items())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"{", "no JSON"), (b'{"a": "\xff"}', "no text"), (b"[" * 200_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "no JSON"),
    ],
)
def test_json_that_is_amiss(data: bytes, words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path / "p.json", data))


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_what_a_pickle_asks_for_is_never_run(tmp_path: Path) -> None:
    sentinel = tmp_path / "was_run"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for call in (Calls(Path.mkdir, sentinel), Calls(eval, f"open({str(sentinel)!r}, 'w')"), Calls(print, "x")):
            refusal(write(tmp_path / "p.pkl", pickle.dumps({"a": call}, protocol)))
    assert not sentinel.exists()


GLOBAL = b"cnumpy\ndtype\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged or holds more"),
        (b"\x80\x04.", "damaged or holds more"),
        (pickle.dumps(PLAIN)[:-9], "damaged or holds more"),
        (pickle.dumps(collections.OrderedDict(a=1)), "collections.OrderedDict"),
        (pickle.dumps(np.array([PLAIN], object), 4), "damaged or holds more"),
        (pickle.dumps(np.array(["a"]), 4), "damaged or holds more"),
        (pickle.dumps(np.array([1j]), 4), "damaged or holds more"),
        (pickle.dumps(1j), "builtins.complex"),
        (pickle.dumps({(1, 2): 3}), "neither words nor whole numbers"),
        (pickle.dumps(bytearray(3), 5), "BYTEARRAY8"),
        (b"Pabc\n.", "PERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"Nr\xff\xff\xff\x7f.", "LONG_BINPUT"),
        (b"Np99999999\n.", "PUT"),
        (GLOBAL + b".", "Kind: not plain data"),
        (ARRAY + b".", "Array: not plain data"),
        (ARRAY + b"(K\x01)" + GLOBAL + b"(U\x02f4tRI00\nNtb.", "damaged or holds more"),
        (GLOBAL + b"(U\x02O8tR.", "damaged or holds more"),
        (GLOBAL + b"(U\x02f4tR(K\x03U\x01xNtb.", "damaged or holds more"),
        (GLOBAL + b"}(U\x01xK\x01ub.", "damaged or holds more"),
        (b"c_codecs\nencode\n(U\x01aU\x05utf-8tR.", "damaged or holds more"),
        (b"cnumpy.core.multiarray\nscalar\n(K\x01K\x02tR.", "damaged or holds more"),
        (b"]q\x00h\x00a.", "nests them too deeply"),
    ],
)
def test_pickles_that_are_amiss(data: bytes, words: str, tmp_path: Path) -> None:
    assert words in refusal(write(tmp_path / "p.pkl", data))


def test_an_array_is_no_larger_than_its_bytes(tmp_path: Path) -> None:
    data = pickle.dumps(np.zeros(3, np.float32), 2)
    huge = data.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85")
    assert huge != data
    assert "damaged or holds more" in refusal(write(tmp_path / "p.pkl", huge))
    negative = data.replace(b"K\x03\x85", b"J\xff\xff\xff\xff\x85")
    assert "damaged or holds more" in refusal(write(tmp_path / "p.pkl", negative))


def test_lists_that_hold_themselves_many_times(tmp_path: Path) -> None:
    """Each list holds the one before it ten times: a few bytes that would be a million values."""
    value: Any = [1]
    for _ in range(6):
        value = [value] * 10
    assert "too many values" in refusal(write(tmp_path / "p.pkl", pickle.dumps(value)))


def test_many_arrays_on_the_same_bytes(tmp_path: Path) -> None:
    values = [np.zeros(50_000, np.uint8)] * 6
    assert "too many values" in refusal(write(tmp_path / "p.pkl", pickle.dumps(values, 4)))


def test_a_file_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hoyomusic.legacy import params

    monkeypatch.setattr(params, "LARGEST_TEXT", 20)
    assert "too large for the params" in refusal(write(tmp_path / "p.pkl", pickle.dumps(PLAIN)))


@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_pickles_are_refused_or_plain(data: st.DataObject, tmp_path: Path) -> None:
    whole = bytearray((KERAS / "tcn_conv1d_params.pickle").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path / "p.pkl", bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        json.dumps(read_params(path))
    except CheckpointError as error:
        assert "\n" not in str(error)


def test_the_stand_ins_cannot_be_changed(tmp_path: Path) -> None:
    """A pickle that sets attributes on what a name stands for would change it for all that come after."""
    body = b"cnumpy\nndarray\n" + b"}" + b"\x8c\x06values" + b"K\x01" + b"s" + b"b."
    assert struct.unpack("<B", body[:1]) == (ord("c"),)
    assert "damaged or holds more" in refusal(write(tmp_path / "p.pkl", b"\x80\x04" + body))
