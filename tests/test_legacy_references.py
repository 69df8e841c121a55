"""Reference files are read without trust, and differences are told as they are."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hoyomusic.errors import CheckpointError
from hoyomusic.legacy.references import compare, read_reference


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def head(description: str) -> bytes:
    """A version 1.0 head of an array file with nothing behind it."""
    text = description.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


GOOD = {"input_0.npy": npy(np.arange(6, dtype=np.int32).reshape(2, 3)), "output_0.npy": npy(np.ones(2, np.float32))}


def test_inputs_and_outputs_come_in_their_order(tmp_path: Path) -> None:
    arrays = {f"input_{number}": np.full((2,), number, np.float32) for number in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)}
    np.savez(tmp_path / "a.npz", **arrays, output_0=np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    found = read_reference(tmp_path / "a.npz")
    assert [int(array[0]) for array in found.inputs] == list(range(11))
    assert np.array_equal(found.outputs[0], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({**GOOD, "evil.npy": npy(np.ones(1))}, "holds 'evil.npy'"),
        ({"input_0.npy": GOOD["input_0.npy"]}, "does not hold output_0"),
        ({**GOOD, "input_2.npy": npy(np.ones(1))}, "does not hold input_0 and all that follow it"),
        ({**GOOD, "input_0.npy": b"no array"}, "input_0.npy is no array"),
        ({**GOOD, "input_0.npy": b"\x93NUMPY\x09\x00rest"}, "input_0.npy is no array"),
        ({**GOOD, "input_0.npy": npy(np.array(["a"]))}, "where only numbers belong"),
        (
            {**GOOD, "input_0.npy": head("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")},
            "where only numbers belong",
        ),
        (
            {**GOOD, "input_0.npy": head("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }")},
            "claims another size than it has",
        ),
        (
            {**GOOD, "input_0.npy": head("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }") + bytes(8)},
            "claims another size than it has",
        ),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    path = write(tmp_path / "a.npz", members)
    with pytest.raises(CheckpointError) as caught:
        read_reference(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_no_file_or_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_reference(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("words")
    with pytest.raises(CheckpointError, match=r"is no \.npz file"):
        read_reference(tmp_path / "text.npz")
    whole = write(tmp_path / "whole.npz", GOOD).read_bytes()
    broken = bytearray(whole)
    broken[45] ^= 0xFF
    (tmp_path / "broken.npz").write_bytes(broken)
    with pytest.raises(CheckpointError, match="damaged"):
        read_reference(tmp_path / "broken.npz")


def test_a_member_that_would_fill_the_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hoyomusic.legacy import references

    monkeypatch.setattr(references, "LARGEST_MEMBER", 100)
    with pytest.raises(CheckpointError, match="claims 152 bytes for input_0.npy"):
        read_reference(write(tmp_path / "a.npz", GOOD))


def test_differences() -> None:
    (found,) = compare([np.float32([1, 2])], [np.float32([1, 2.5])], "a.npz")
    assert (found.largest, found.mean, found.exact) == (0.5, 0.25, False)
    assert str(found) == "output_0: largest difference 0.5, mean 0.25"
    assert found.to_dict() == {"output": 0, "largest": 0.5, "mean": 0.25}
    (same,) = compare([np.float32([1 + 1e-6])], [np.float32([1])], "a.npz")
    assert same.exact
    (lost,) = compare([np.float32([np.nan])], [np.float32([np.nan])], "a.npz")
    assert not lost.exact, "what is not a number is no exact output"
    (empty,) = compare([np.empty((0, 3))], [np.empty((0, 3))], "a.npz")
    assert empty.exact


def test_outputs_of_another_number_or_shape_are_refused() -> None:
    with pytest.raises(CheckpointError, match="has 1 outputs, the model 2"):
        compare([np.ones(1), np.ones(1)], [np.ones(1)], "a.npz")
    with pytest.raises(CheckpointError, match=r"output_0 has the shape \(2,\), the model's output \(1,\)"):
        compare([np.ones(1)], [np.ones(2)], "a.npz")
