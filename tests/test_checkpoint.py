"""Checkpoints: what is saved is loaded, and nothing else is."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import resource
import struct
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hoyomusic import archive, checkpoint
from hoyomusic.checkpoint import Checkpoint, load, save
from hoyomusic.errors import CheckpointError, HoyoError, StorageError
from hoyomusic.fit import FitConfig, FitState, fit
from hoyomusic.model import HoyoMusicLSTM, ModelConfig
from hoyomusic.streams import Sample

SIZES = ModelConfig(vocabulary=10, regions=3, clocks=4, embedding=6, hidden=8, layers=2)


def make_checkpoint(**changes) -> Checkpoint:
    values = {
        "config": SIZES,
        "vocab": {"version": 1, "tokens": [f"token {index} é 琴" for index in range(10)]},
        "weights": HoyoMusicLSTM(SIZES, seed=1).state_dict(),
        "provenance": {"corpus": "ab" * 32, "licence": "none", "share": 0.5, "checked": True, "note": None},
    }
    return Checkpoint(**{**values, **changes})


def raw_values(**changes) -> dict:
    made = make_checkpoint()
    values = {
        "format": "hoyomusic", "version": 1, "config": SIZES.to_dict(), "vocab": made.vocab,
        "weights": dict(made.weights), "provenance": made.provenance, "training": None,
    }
    return {**values, **changes}


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "model.pth"


def write_raw(path: Path, values: object) -> Path:
    torch.save(values, path)
    return path


def rewrite(path: Path, change) -> None:
    """The zip at `path` again, each member as ``change(name, data)`` gives it (None: left out), checksums made new."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            changed = change(name, data)
            if changed is not None:
                archive.writestr(name, changed)


def refused(path: Path) -> str:
    """The message with which `path` is refused; it is one line and names the file."""
    with pytest.raises(CheckpointError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and "weights_only" not in text
    assert caught.value.remedy
    return caught.value.message


# ------------------------------------------------------------------------------------------ good files


def test_load_inverts_save(path):
    made = make_checkpoint()
    assert save(made, path) == path
    found = load(path)
    assert (found.config, found.vocab, found.provenance, found.training) == (SIZES, made.vocab, made.provenance, None)
    assert found.weights.keys() == made.weights.keys()
    assert all(torch.equal(weight, made.weights[name]) for name, weight in found.weights.items())
    assert found.identity == checkpoint.identity(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_any_reader_of_torch_files_can_open_it(path):
    save(make_checkpoint(), path)
    values = torch.load(path, weights_only=True)
    assert list(values) == list(checkpoint.ENTRIES)
    assert (values["format"], values["version"]) == ("hoyomusic", 1)
    HoyoMusicLSTM(ModelConfig(**values["config"])).load_state_dict(values["weights"], strict=True)


def test_the_model_computes_the_same(path):
    made = make_checkpoint()
    save(made, path)
    ids = torch.arange(10).view(2, 5)
    one, other = made.model(), load(path).model()
    assert not other.training
    assert torch.equal(one(ids, ids[:, 0] % 3, ids % 4)[0], other(ids, ids[:, 0] % 3, ids % 4)[0])


def test_a_whole_training_state_survives_and_shared_tensors_are_stored_once(path):
    samples = [Sample(np.array([0, 2, 3, 4, 5, 6, 1], np.uint16), 1, np.zeros(7, np.uint16))] * 6
    config = FitConfig(epochs=1, rows=2, steps=4, precision="fp32")
    state = fit(HoyoMusicLSTM(SIZES, seed=1), samples, samples, config)
    made = make_checkpoint(weights=state.result, training=state.to_dict())
    save(made, path)
    found = load(path)
    again = FitState.from_dict(found.training)
    assert (again.epoch, again.step) == (1, state.step) and found.training["epoch"] == 1
    apart = path.with_name("apart.pth")
    save(replace(made, weights={name: weight.clone() for name, weight in made.weights.items()}), apart)
    stored = sum(weight.numel() * 4 for weight in made.weights.values())
    assert apart.stat().st_size - path.stat().st_size > 0.9 * stored
    more = replace(config, epochs=3)
    one = fit(HoyoMusicLSTM(SIZES), samples, samples, more, state=again)
    other = fit(HoyoMusicLSTM(SIZES), samples, samples, more, state=state)
    assert all(torch.equal(weight, other.weights[name]) for name, weight in one.weights.items())


def test_save_replaces_the_old_file_and_tells_a_full_disk(path, monkeypatch):
    save(make_checkpoint(), path)
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="no space left on the disk"):
        patch.setattr(os, "fsync", full)
        save(make_checkpoint(provenance={}), path)
    assert path.read_bytes() == old and os.listdir(path.parent) == ["model.pth"]
    save(make_checkpoint(provenance={}), path)
    assert load(path).provenance == {}


# ---------------------------------------------------------------------------- what cannot be saved


def test_what_could_not_be_loaded_is_not_saved(path):
    weights = {name: weight.clone() for name, weight in make_checkpoint().weights.items()}
    weights["clock"][0, 0] = float("nan")
    for made, message in (
        (make_checkpoint(weights=weights), "the weight clock holds values that are not finite"),
        (make_checkpoint(vocab={"tokens": ("a", "b")}), "holds a tuple, where only plain values and tensors belong"),
        (make_checkpoint(vocab={1.5: "a"}), "holds a dict whose keys are neither words nor whole numbers"),
        (make_checkpoint(training={"epoch": 1.0, "step": 2}), "does not say how far it was trained"),
        (make_checkpoint(config=replace(SIZES, hidden=9)),
         "the weight output_weight is not a float32 tensor of shape (10, 9)"),
    ):
        with pytest.raises(CheckpointError) as caught:
            save(made, path)
        assert caught.value.message == message
        assert not path.exists()


# -------------------------------------------------------------------------------- not files of ours


def test_what_is_no_file(tmp_path):
    assert refused(tmp_path / "none.pth") == "there is no such file"
    assert refused(tmp_path) in ("is not a regular file", "cannot be opened: Is a directory")
    os.mkfifo(tmp_path / "pipe.pth")
    assert refused(tmp_path / "pipe.pth") == "is not a regular file"
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    assert refused(tmp_path / "loop.pth").startswith("cannot be opened: Too many levels of symbolic links")
    with pytest.raises(CheckpointError, match="cannot be opened: embedded null byte"):
        load("a\0b")
    with pytest.raises(CheckpointError, match="there is no such file"):
        checkpoint.identity(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [b"", b"I am text\n", b"\x80\x02}q\x00.", b"PK\x05\x06" + bytes(18), b"PK" * 50])
def test_what_is_no_model(path, content):
    path.write_bytes(content)
    assert refused(path) in ("is no model file", "the file is damaged or cut short")


def test_a_file_too_large_is_refused_unread(path):
    with path.open("wb") as file:
        file.truncate(archive.LARGEST_FILE + 1)
    assert "bytes long, more than" in refused(path)


def test_a_file_cut_anywhere_is_refused(path):
    save(make_checkpoint(), path)
    whole = path.read_bytes()
    for length in (*range(0, len(whole) - 1, len(whole) // 50), len(whole) - 1, len(whole) - 100):
        path.write_bytes(whole[:length])
        refused(path)


def test_no_flipped_bit_changes_what_is_loaded(path):
    save(make_checkpoint(), path)
    whole = path.read_bytes()
    original = load(path)
    generator = np.random.default_rng(5)
    found = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        try:
            survived = load(path)
        except CheckpointError:
            found += 1
            continue
        for part in ("config", "vocab", "provenance", "training"):
            assert getattr(survived, part) == getattr(original, part)
        assert all(torch.equal(weight, original.weights[name]) for name, weight in survived.weights.items())
    # Some bits (dates, padding) mean nothing; most do.
    assert found > 150


def test_a_flipped_bit_in_the_weights_is_found(path):
    save(make_checkpoint(), path)
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        stored = [entry for entry in archive.infolist() if "/data/" in entry.filename]
    member = max(stored, key=lambda entry: entry.file_size)
    start = member.header_offset + 30 + sum(struct.unpack_from("<HH", damaged, member.header_offset + 26))
    damaged[start + 5] ^= 4
    path.write_bytes(damaged)
    assert refused(path) == "the file is damaged or cut short"


# --------------------------------------------------------------------------------------- hostile files


class Evil:
    """Makes a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_hostile_pickles_do_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    assert refused(path) == "is no model file"
    write_raw(path, raw_values(vocab=Evil(tmp_path / "owned")))
    assert refused(path) == "holds instructions that no model file needs"
    assert not (tmp_path / "owned").exists()


def archive_with(path: Path, program: bytes) -> None:
    write_raw(path, raw_values())
    rewrite(path, lambda name, data: program if name.endswith("data.pkl") else data)


NESTED = b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b"."
DOUBLED = b"\x80\x02]q\x00K\x01a" + b"".join(
    b"]q" + bytes([index + 1]) + b"(h" + bytes([index]) + b"h" + bytes([index]) + b"e" for index in range(60)
) + b"."


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"\x80\x02c__builtin__\nbytearray\nJ\x00\x94\x35\x77\x85R.", "holds instructions that no model file needs"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "holds instructions that no model file needs"),
        (b"\x80\x02(i__main__\nEvil\n.", "holds instructions that no model file needs"),
        (NESTED, "holds too many values or nests them too deeply"),
        (DOUBLED, "holds too many values or nests them too deeply"),
        (b"\x80\x02K\x01", "the file is damaged or cut short"),
        (b"\x80\x02ccollections\nOrderedDict\nK\x01\x85R.", "is no model file"),
        (b"\x80\x02}q\x00(K\x01K\x02u0.", "holds instructions that no model file needs"),
        (b"\x80\x02X" + struct.pack("<I", archive.LARGEST_PICKLE) + b" " * archive.LARGEST_PICKLE + b".",
         "describes its content in more than 1048576 bytes"),
    ],
    ids=["bytearray", "eval", "inst", "nested", "doubled", "no stop", "bad call", "pop", "long"],
)
def test_hostile_instructions_are_refused_quickly(path, program, message):
    archive_with(path, program)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refused(path) == message
    assert time.process_time() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_tensors_larger_than_their_memory_are_refused(path):
    write_raw(path, raw_values(vocab=torch.zeros(1).as_strided((10**6, 10**6), (0, 0))))
    assert refused(path) == "is no model file"


def test_a_tensor_cannot_pose_as_the_memory_of_another(path):
    """A tensor of stride 0 at the end of its memory looks long: as memory it would reach beyond the file."""
    storage = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuKdtQ"
    build = b"ctorch._utils\n_rebuild_tensor_v2\n"
    last = b"(" + storage + b"KcKd\x85K\x00\x85\x89NtR"
    for program, works in ((build + last, True), (build + b"(" + build + last + b"K\x00Kd\x85K\x01\x85\x89NtR", False)):
        write_raw(path, torch.zeros(100))
        rewrite(path, lambda name, data: b"\x80\x02" + program + b"." if name.endswith("data.pkl") else data)
        if works:
            assert archive.read(path).values.shape == (100,)
        else:
            assert refused(path) == "is no model file"


def test_compressed_members_are_refused(path):
    write_raw(path, raw_values(vocab=torch.zeros(2**20)))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    assert refused(path) == "holds compressed parts, which a model file never does"


def test_double_names_and_false_sizes_are_refused(path):
    write_raw(path, raw_values())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[-1], b"twice")
    assert refused(path) == "claims to hold more than it does"


def test_a_zip_of_something_else(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert refused(path) == "is no model file"
    write_raw(path, raw_values())
    rewrite(path, lambda name, data: None if "/data/" in name else data)
    assert refused(path) == "is no model file"


def test_other_classes_are_refused(path):
    write_raw(path, raw_values(vocab=collections.OrderedDict(a=1)))
    assert refused(path) == "is no model file"
    write_raw(path, raw_values(vocab=(1, 2)))
    assert refused(path) == "holds a tuple, where only plain values and tensors belong"
    write_raw(path, raw_values(vocab={(1, 2): 3}))
    assert refused(path) == "holds a dict whose keys are neither words nor whole numbers"
    write_raw(path, raw_values(vocab=list(range(archive.MOST_VALUES))))
    assert refused(path) == "holds too many values or nests them too deeply"


# ------------------------------------------------------------------------------------ other contents


def changed_weight(name: str, weight: torch.Tensor | None) -> dict:
    weights = dict(make_checkpoint().weights)
    if weight is None:
        del weights[name]
    else:
        weights[name] = weight
    return weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "is no HoyoMusic model"),
        ({"version": 2}, "has version 2, newer than 1"),
        ({"version": "1"}, "has the version '1', which there never was"),
        ({"version": 0}, "has the version 0, which there never was"),
        ({"extra": 1}, "has an unknown entry 'extra'"),
        ({"config": {**SIZES.to_dict(), "hidden": 10**9}},
         "describes a model that cannot be: hidden is 1000000000; give a whole number from 1 to 4096"),
        ({"config": {"vocabulary": 10, "depth": 3}},
         "describes a model that cannot be: ModelConfig.__init__() got an unexpected"),
        ({"config": 5}, "describes a model that cannot be: "),
        ({"config": {**SIZES.to_dict(), "hidden": 4096, "layers": 16}}, "lacks the weight layers.2.weight_ih"),
        ({"weights": 7}, "has no weights"),
        ({"weights": changed_weight("clock", None)}, "lacks the weight clock"),
        ({"weights": changed_weight("clocks", torch.zeros(1))}, "has an unknown weight 'clocks'"),
        ({"weights": changed_weight("clock", torch.zeros(4, 7))},
         "the weight clock is not a float32 tensor of shape (4, 6)"),
        ({"weights": changed_weight("clock", torch.zeros(4, 6, dtype=torch.float64))},
         "the weight clock is not a float32 tensor of shape (4, 6)"),
        ({"weights": changed_weight("clock", torch.full((4, 6), float("inf")))},
         "the weight clock holds values that are not finite"),
        ({"provenance": None}, "does not say where it comes from"),
        ({"training": {"epoch": 3}}, "does not say how far it was trained"),
        ({"training": []}, "does not say how far it was trained"),
    ],
)
def test_what_is_wrong_is_named(path, changes, message):
    write_raw(path, raw_values(**changes))
    assert refused(path).startswith(message)


def test_a_missing_entry_is_named(path):
    values = raw_values()
    del values["vocab"]
    write_raw(path, values)
    assert refused(path) == "lacks the entry vocab"
    write_raw(path, [1, 2])
    assert refused(path) == "is no HoyoMusic model"
    write_raw(path, torch.zeros(3))
    assert refused(path) == "is no HoyoMusic model"


def test_mutated_files_give_a_model_or_one_error(path):
    """A thousand files with bytes changed and checksums made right again: no other exception, nothing slow."""
    write_raw(path, raw_values())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    generator = np.random.default_rng(9)
    refusals = 0
    for _ in range(1000):
        program = bytearray(members[name])
        for _ in range(int(generator.integers(1, 4))):
            program[generator.integers(len(program))] = int(generator.integers(256))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for other, data in members.items():
                archive.writestr(other, bytes(program) if other == name else data)
        path.write_bytes(buffer.getvalue())
        try:
            load(path)
        except HoyoError as error:
            assert isinstance(error, CheckpointError)
            refusals += 1
    assert refusals > 500
