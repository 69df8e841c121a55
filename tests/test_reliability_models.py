"""Model files from strangers: flipped bits, bombs under a limit of memory, values that would lead a step astray."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hoyomusic import archive, checkpoint
from hoyomusic.abc import parse_one
from hoyomusic.checkpoint import Checkpoint, load, save
from hoyomusic.errors import CheckpointError, HoyoError
from hoyomusic.generator import HoyoMusicGenerator
from hoyomusic.grammar import CLOCKS
from hoyomusic.model import HoyoMusicLSTM
from hoyomusic.novelty import NoveltyIndex
from hoyomusic.recall import SOURCES
from hoyomusic.regions import REGIONS
from hoyomusic.request import Request
from hoyomusic.sizes import ModelConfig
from hoyomusic.vocab import Vocabulary
from tests.conftest import ROOT

SIZES = ModelConfig(vocabulary=10, regions=3, clocks=4, embedding=6, hidden=8, layers=2)
DEFAULT = ROOT / "models" / "default.pth"


def make_values(sizes: ModelConfig = SIZES, **changes: Any) -> dict[str, Any]:
    """What a file of these sizes holds."""
    values = {
        "format": "hoyomusic", "version": 1, "config": sizes.to_dict(),
        "vocab": {"version": 1, "tokens": [str(index) for index in range(sizes.vocabulary)]},
        "weights": dict(HoyoMusicLSTM(sizes, seed=1).state_dict()), "provenance": {"tunes": {"Liyue": 3}},
        "training": None,
    }
    return {**values, **changes}


def write(path: Path, values: Any) -> Path:
    torch.save(values, path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    return caught.value.message


# ------------------------------------------------------------------------------------------ flipped bits


def flip_bits(data: bytes, count: int) -> tuple[int, int]:
    """How many of `count` flips were refused, and how many changed nothing; any other result fails the test."""
    original = archive.parse(data, "whole.pth").values
    numbers = np.random.default_rng(6)
    found = 0
    for bit in numbers.choice(8 * len(data), count, replace=False):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            survived = archive.parse(bytes(flipped), "flipped.pth").values
        except CheckpointError:
            found += 1
        else:
            assert same(original, survived), f"bit {bit} changes what is read"
    return found, count - found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def test_each_of_a_thousand_flipped_bits_is_found_or_changes_nothing(tmp_path: Path) -> None:
    data = write(tmp_path / "small.pth", make_values()).read_bytes()
    found, harmless = flip_bits(data, 1000)
    # In so small a file a third is headers, of which much means nothing: dates, versions, padding.
    assert found > 400 and harmless > 100


def test_every_flipped_bit_outside_the_weights_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """All of the directory and of what stands between the parts, of which no checksum is kept."""
    path = write(tmp_path / "small.pth", make_values(weights={}, vocab={}))
    data = path.read_bytes()
    original = archive.parse(data, "whole.pth").values
    with zipfile.ZipFile(path) as opened:
        first = min(entry.header_offset for entry in opened.infolist())
        places = [*range(first, first + 30), *range(opened.start_dir, len(data))]
    for bit in (8 * place + number for place in places for number in range(8)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert same(original, archive.parse(bytes(flipped), "flipped.pth").values)
        except CheckpointError:
            pass


@pytest.mark.slow
def test_each_of_a_thousand_bits_flipped_in_the_default_model_is_found_or_changes_nothing() -> None:
    found, _ = flip_bits(DEFAULT.read_bytes(), 1000)
    assert found > 950


# ---------------------------------------------------------------------------------- bombs, under a limit of memory

# What a good file of the tests takes beyond the interpreter is far less; what a bomb asks for is far more.
ROOM = 200 * 2**20
READING = """
import resource, sys
sys.setrecursionlimit(1000)
from hoyomusic import checkpoint
from hoyomusic.errors import CheckpointError
if sys.argv[2] != "good":
    checkpoint.load_arrays(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
for file in sys.argv[4:]:
    try:
        checkpoint.load_arrays(file)
        print("read")
    except CheckpointError as error:
        print(error.message)
"""


def replace_program(path: Path, program: bytes) -> None:
    """`path` with another pickle in it, its checksum made right."""
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, program if name.endswith("data.pkl") else data)


def ask_for_memory(path: Path) -> None:
    """A call of an allowed name that asks for 2 GB."""
    write(path, make_values())
    replace_program(path, b"\x80\x02c__builtin__\nbytearray\nJ\x00\x94\x35\x77\x85R.")


def compress_zeros(path: Path) -> None:
    """256 MiB of zeros in a quarter of a megabyte."""
    write(path, make_values())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as opened, opened.open("archive/data/99", "w") as member:
        for _ in range(256):
            member.write(bytes(2**20))


def repeat_one_element(path: Path) -> None:
    """A tensor of 10^12 elements that all lie in one place."""
    write(path, make_values(vocab={"tokens": torch.zeros(1).as_strided((10**6, 10**6), (0, 0))}))


def double_lists(path: Path) -> None:
    """Lists of the list before, twice: 2^60 leaves."""
    write(path, make_values())
    steps = (b"]q" + bytes([at + 1]) + (b"(h" + bytes([at])) + (b"h" + bytes([at])) + b"e" for at in range(60))
    replace_program(path, b"\x80\x02]q\x00K\x01a" + b"".join(steps) + b".")


def nest_lists(path: Path) -> None:
    """200,000 lists, each in the one before."""
    write(path, make_values())
    replace_program(path, b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")


def share_memory(path: Path) -> None:
    """A megabyte that 5,000 tensors lie on: copied one by one they would be 5 GB."""
    tensor = torch.zeros(2**18)
    write(path, make_values(provenance={"licences": [tensor] * 5_000}))


def share_memory_among_weights(path: Path) -> None:
    """All matrices of a large model on one piece of memory of 4 MB."""
    sizes = ModelConfig(10, 3, 4, embedding=512, hidden=512, layers=16)
    memory = torch.zeros(2048 * 512)
    weights = {
        name: memory[: int(np.prod(shape))].view(shape)
        for name, shape in sizes.shapes().items()
    }
    write(path, make_values(sizes, weights=weights))


def list_many_parts(path: Path) -> None:
    """A directory of 400,000 empty parts: each takes 50 bytes there and 1 kB when it is read."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 33, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0)
    directory = b"".join(entry + f"{index:04x}"[:4].encode() for index in range(400_000))
    path.write_bytes(b"PK" + directory + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(directory), 2, 0))


def list_many_parts_in_64_bits(path: Path) -> None:
    """The same with the length told in the longer record only."""
    list_many_parts(path)
    data = path.read_bytes()
    directory = data[2:-22]
    long = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 0, 0, len(directory), 2)
    pointer = struct.pack("<4sLQL", b"PK\6\7", 0, 2 + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, 100, 2, 0)
    path.write_bytes(data[:-22] + long + pointer + end)


BOMBS: list[Callable[[Path], None]] = [
    ask_for_memory, compress_zeros, repeat_one_element, double_lists, nest_lists, share_memory,
    share_memory_among_weights, list_many_parts, list_many_parts_in_64_bits,
]


def read_within(room: int, *files: Path) -> list[str]:
    """What comes of reading `files` in a process that may take `room` bytes more than after a good file."""
    good = write(files[0].with_name("good.pth"), make_values())
    done = subprocess.run(
        [sys.executable, "-c", READING, good, "warm", str(room), *files],
        cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.splitlines()


def test_bombs_are_refused_without_the_memory_that_they_ask_for(tmp_path: Path) -> None:
    paths = []
    for bomb in BOMBS:
        paths.append(tmp_path / f"{bomb.__name__}.pth")
        bomb(paths[-1])
    said = read_within(ROOM, *paths, write(tmp_path / "fine.pth", make_values()))
    assert len(said) == len(BOMBS) + 1 and said[-1] == "read"
    assert "read" not in said[:-1]
    assert said[:-1] == [
        "holds instructions that no model file needs",
        "holds compressed parts, which a model file never does",
        "is no model file",
        "holds too many values or nests them too deeply",
        "holds too many values or nests them too deeply",
        "holds tensors that together are larger than it",
        "holds tensors that together are larger than it",
        "lists its parts in more than 1048576 bytes",
        "lists its parts in more than 1048576 bytes",
    ]


def test_a_part_that_claims_more_bytes_than_were_checked_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pth", make_values())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        entry = next(entry for entry in opened.infolist() if entry.filename.endswith("data.pkl"))
        start = data.find(b"PK\1\2", opened.start_dir)
    assert struct.unpack_from("<L", data, start + 24)[0] == entry.file_size
    struct.pack_into("<L", data, start + 24, entry.file_size + 8)
    path.write_bytes(data)
    assert refused(path) == archive.DAMAGED


@pytest.mark.parametrize("content", [b"", b"PK", b"I am text\n" * 10])
def test_what_is_no_zip_has_no_fingerprint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        archive.fingerprint(path)


def test_a_fingerprint_waits_for_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match="not a regular file"):
        archive.fingerprint(tmp_path / "pipe.pth")


def test_a_zip_of_the_future_has_no_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pth", make_values())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as opened:
        data[opened.start_dir + 6] = 99
    path.write_bytes(data)
    for read in (archive.fingerprint, archive.read):
        with pytest.raises(CheckpointError):
            read(path)


def test_a_hostile_pickle_beside_an_export_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    for path, data in (
        (tmp_path / "raw.pth", pickle.dumps(Evil())),
        (tmp_path / "text.pth", pickle.dumps(Evil(), protocol=0)),
    ):
        path.write_bytes(data)
        for read in (archive.fingerprint, archive.read, load, HoyoMusicGenerator.load):
            with pytest.raises(CheckpointError):
                read(path)
    assert not (tmp_path / "owned").exists()


# ---------------------------------------------------------------------------------------- senseless contents


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab": None}, "does not say what its ids mean"),
        ({"vocab": {"tokens": "0123456789"}}, "does not say what its ids mean"),
        ({"vocab": {"tokens": [1] * 10}}, "does not say what its ids mean"),
        ({"vocab": {"tokens": ["a"] * 11}}, "has names for 11 ids, but 10 ids"),
        ({"version": "9" * 10_000}, "has the version '999999999999999999999999999999999999999, which there never was"),
        ({"config": {"vocabulary": 10, "A" * 10_000: 1}}, "describes a model that cannot be: ModelConfig.__init__"),
        ({"provenance": {"tunes": [1]}}, "does not say where it comes from as models do: tunes"),
        ({"provenance": {"tunes": {"Liyue": "many"}}}, "does not say where it comes from as models do: tunes"),
        ({"provenance": {"learned": 5}}, "does not say where it comes from as models do: learned"),
        ({"provenance": {"validation": {"validation_nats_per_token": "1"}}},
         "does not say where it comes from as models do: validation"),
        ({"provenance": {"notes_per_token": "1"}}, "does not say where it comes from as models do: notes_per_token"),
    ],
)
def test_what_programs_would_stumble_over_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    assert refused(write(tmp_path / "model.pth", make_values(**changes))).startswith(message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("output_weight", 3e38, "the weight output_weight holds values beyond -1e+09 to 1e+09"),
        ("layers.1.norm.running_var", -1.0, "the weight layers.1.norm.running_var holds values beyond 0 to 1e+09"),
        ("layers.0.bias", float("nan"), "the weight layers.0.bias holds values that are not finite"),
    ],
)
def test_senseless_weights_are_refused(tmp_path: Path, name: str, value: float, message: str) -> None:
    values = make_values()
    values["weights"][name].view(-1)[0] = value
    assert refused(write(tmp_path / "model.pth", values)) == message


def make_model(path: Path, *, scale: float = 1.0, **sizes: int) -> Path:
    """A model that generates, with weights `scale` times as large as they begin, and other inputs where `sizes` say."""
    vocabulary = Vocabulary.build()
    given = {"regions": len(REGIONS), "clocks": CLOCKS, "recalls": SOURCES, "embedding": 32, "hidden": 32, "layers": 1}
    config = ModelConfig(len(vocabulary), **{**given, **sizes})
    weights = {
        name: (weight * scale).clamp(-1e9, 1e9) if weight.dtype == torch.float32 else weight
        for name, weight in HoyoMusicLSTM(config, seed=2).state_dict().items()
    }
    return save(Checkpoint(config, vocabulary.to_dict(), weights, {"learned": []}), path)


@pytest.mark.parametrize("sizes", [{"regions": 1}, {"clocks": 1}, {"clocks": CLOCKS - 1}, {"recalls": 1}])
@pytest.mark.parametrize("exported", [False, True])
def test_a_model_that_takes_other_inputs_is_refused(tmp_path: Path, sizes: dict[str, int], exported: bool) -> None:
    """Rows beyond a table would be read from memory that is not its own."""
    from hoyomusic.export import export_model

    path = make_model(tmp_path / "model.pth", **sizes)
    with pytest.raises(CheckpointError, match="takes other inputs than this program gives"):
        HoyoMusicGenerator.load(export_model(path) if exported else path)


def test_the_largest_weights_make_tunes_all_the_same(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.pth", scale=1e12)
    (made,) = HoyoMusicGenerator.load(path).compose(Request("Mondstadt", bars=4, seed=1))
    assert made.tune.bars


def test_a_foreign_vocabulary_is_refused(tmp_path: Path) -> None:
    path = make_model(tmp_path / "model.pth")
    found = load(path)
    for change in (
        {"tokens": [*found.vocab["tokens"][:-1], "metre:1/99999"]}, {"layout": "loose"}, {"layout": []}, {"version": 2},
    ):
        save(Checkpoint(found.config, {**found.vocab, **change}, found.weights, {}), path)
        with pytest.raises(HoyoError) as caught:
            HoyoMusicGenerator.load(path)
        assert "\n" not in str(caught.value)


def test_commands_refuse_every_kind_of_file_in_one_line(hoyo: Callable[..., Any], tmp_path: Path) -> None:
    """Truncated, empty, text, a folder, a pipe, a device, a hostile pickle: each command says what it is."""
    good = make_model(tmp_path / "good.pth").read_bytes()
    contents = {"half": good[: len(good) // 2], "empty": b"", "text": b"hello\n", "pickle": pickle.dumps({"a": 1})}
    files = []
    for name, content in contents.items():
        files.append(tmp_path / f"{name}.pth")
        files[-1].write_bytes(content)
    (tmp_path / "folder.pth").mkdir()
    os.mkfifo(tmp_path / "pipe.pth")
    files += [tmp_path / "folder.pth", tmp_path / "pipe.pth", tmp_path / "none.pth", Path("/dev/zero")]
    for file in files:
        for command in (
            ("generate", "--model", file), ("regions", "--model", file), ("export", file), ("resume", file),
        ):
            said = hoyo(*command)
            lines = said.err.splitlines()
            assert said.code == 1 and len(lines) == 1 and str(file) in lines[0], (command, said)
    assert not list((tmp_path / "work").rglob("*.*"))


def test_checkpoints_of_strangers_name_no_path(tmp_path: Path) -> None:
    """What a file says of itself is never taken for a place: names of parts lead nowhere."""
    path = write(tmp_path / "model.pth", make_values())
    with zipfile.ZipFile(path) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in members.items():
            opened.writestr(name, data)
        opened.writestr("../../outside", b"x")
    try:
        load(path)
    except CheckpointError:
        pass
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["model.pth"]


def test_provenance_is_shown_without_control_characters(hoyo: Callable[..., Any], tmp_path: Path) -> None:
    values = {"learned": ["\x1b[31mLiyue"], "program": "\x9b31m\u202e"}
    path = make_model(tmp_path / "model.pth")
    found = load(path)
    save(Checkpoint(found.config, found.vocab, found.weights, values), Path("models/hoyomusic_generator.pth"))
    for command in (("doctor",), ("doctor", "--json"), ("regions",), ("regions", "--json")):
        said = hoyo(*command)
        shown = json.dumps(said.out + said.err, ensure_ascii=False)
        assert not any(sign in shown for sign in ("\x1b", "\x9b", "\u202e"))
    assert checkpoint.find_model() == Path("models/hoyomusic_generator.pth")


# ------------------------------------------------------------------------------------ what lies beside a model


def test_every_flipped_bit_of_an_index_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.index"
    tune = parse_one("X:1\nL:1/8\nM:4/4\nK:C\nabcdefga|gfedcBAG|c8|]\n")
    data = NoveltyIndex.build([("a jig", tune)]).save(path).read_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(CheckpointError):
            NoveltyIndex.load(path)


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.index")
    (tmp_path / "folder.index").mkdir()
    with (tmp_path / "large.index").open("wb") as file:
        file.truncate(2**40)
    for name in ("pipe", "folder", "large", "none"):
        with pytest.raises(CheckpointError):
            NoveltyIndex.load(tmp_path / f"{name}.index")
