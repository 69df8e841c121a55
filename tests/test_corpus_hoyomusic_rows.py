"""Rows as the hoyoMusic set has them, all invented here: what is taken, what is refused, and why."""

import csv
import gzip
import io
import json
from collections import Counter
from fractions import Fraction

import pytest

from hoyomusic.corpus.candidates import examine, mark_duplicates
from hoyomusic.corpus.hoyomusic_rows import LICENCE, HoyoMusicRows, find_hoyomusic, read_label, read_row
from hoyomusic.errors import CorpusError, MissingPartError
from hoyomusic.tune import Key, Metre, Pitch, Tempo

HEAD = "X:1\nL:1/8\nM:2/4\nI:linebreak $\nK:C\n"
BODY = "z4 | C2 E2 | G2 c2 |$ B,,,4- | B,,,2 z2 | .c2 d2 | (3:2:2e2 d e2 | c4 |]\n"


def row(data=HEAD + BODY, label="Liyue", prompt="S:1\nB:8\n"):
    return {"prompt": prompt, "data": data, "label": label}


def outcome(value):
    candidate = examine(read_row(value, "rows#1"))
    return candidate.reason or candidate.region


@pytest.mark.parametrize(
    ("label", "region"),
    [
        (0, "Teyvat"), (1, "Mondstadt"), (2, "Liyue"), (3, "Inazuma"), (4, "Sumeru"), (5, "Fontaine"), (6, "Natlan"),
        (7, "Snezhnaya"), ("0", "Teyvat"), ("7", "Snezhnaya"), (" 3 ", "Inazuma"), ("Natlan", "Natlan"),
        ("natlan", "Natlan"), ("SUMERU", "Sumeru"), ("Teyvat", "Teyvat"), ("提瓦特", "Teyvat"), ("蒙德", "Mondstadt"),
        ("璃月", "Liyue"), ("稻妻", "Inazuma"), ("须弥", "Sumeru"), ("枫丹", "Fontaine"), ("纳塔", "Natlan"),
        ("至冬", "Snezhnaya"),
    ],
)  # fmt: skip
def test_labels_in_all_spellings(label, region):
    assert read_label(label) == region
    assert outcome(row(label=label)) == region


@pytest.mark.parametrize("label", [None, "", 8, -1, 42, "42", "Belobog", "Jarilo-VI", "雅利洛", 1.5, True, [1], {"id": 1}])
def test_an_unknown_label_is_never_teyvat(label):
    assert read_label(label) == ""
    assert outcome(row(label=label)) == "label is no nation"
    without = row()
    del without["label"]
    assert outcome(without) == "label is no nation"


@pytest.mark.parametrize(
    "prompt", ["S:1\nB:8\n", "", None, "A:Natlan\nS:2\nB:9\nE:5\nB:3\n", "S:99 nonsense", 7, ["S:1"], "<html>"]
)
def test_the_prompt_never_matters(prompt):
    value = row(prompt=prompt)
    assert outcome(value) == "Liyue"
    del value["prompt"]
    assert outcome(value) == "Liyue"


def test_the_music_of_a_row():
    tune = examine(read_row(row(), "rows#1")).tune
    assert (tune.key, tune.metre, len(tune.bars)) == (Key("C"), Metre(2, 4), 8)
    assert tune.bars[3].notes[0].pitches == (Pitch("B", 0, 1),)
    assert tune.bars[3].notes[0].ties == (Pitch("B", 0, 1),)
    assert [note.length for note in tune.bars[6].notes] == [Fraction(1, 6), Fraction(1, 12), Fraction(1, 4)]
    assert tune.header.region == "Liyue"


@pytest.mark.parametrize(
    ("data", "tell", "expected"),
    [
        # A clef is no key; a key is.
        (
            HEAD + "c2 d2 | [K:bass] C2 E2 | [K:treble] e2 f2 | g2 c2 |]",
            lambda tune: [bar.key for bar in tune.bars],
            [None] * 4,
        ),
        (HEAD + "c2 d2 | [K:A] c2 e2 | a2 c2 | e4 | a4 |]", lambda tune: tune.bars[1].key, Key("A")),
        (HEAD + "c2 d2 | [M:3/8] c e g | c e g | c3 | c3 |]", lambda tune: tune.bars[1].metre, Metre(3, 8)),
        (
            HEAD.replace("2/4", "4/4") + "c8 | [M:21/8] c21 | [M:4/4] c2e2g2c2 | c4e2g2 |]",
            lambda tune: tune.metres()[1:3],
            [Metre(21, 8), Metre(4, 4)],
        ),
        (HEAD.replace("M:", "Q:1/4=132\nM:") + BODY, lambda tune: tune.header.tempo, Tempo(Fraction(1, 4), 132)),
        (HEAD + "c2 [Q:1/4=90] d2 | C2 E2 | e2 f2 | g2 c2 |]", lambda tune: len(tune.bars), 4),
        (HEAD + "c2 d2 | C2 E2 | e2 f2 | g2 c2- |", lambda tune: tune.bars[-1].notes[-1].ties, ()),
        (HEAD + "[CEG]2 d2 | C2 E2 | e2 f2 | g2 c2 |]", lambda tune: len(tune.bars[0].notes[0].pitches), 3),
        (HEAD.replace("M:2/4", "M:none") + BODY, lambda tune: tune.metre, Metre(2, 4)),
        (HEAD.removeprefix("X:1\n") + BODY, lambda tune: len(tune.bars), 8),
        (HEAD.replace("K:C", "K:none") + BODY, lambda tune: tune.key, Key("C")),
        ((HEAD + BODY).replace("\n", "\r\n"), lambda tune: len(tune.bars), 8),
    ],
)  # fmt: skip
def test_rows_that_must_be_taken(data, tell, expected):
    candidate = examine(read_row(row(data), "rows#1"))
    assert candidate.reason == ""
    assert tell(candidate.tune) == expected


REFUSED = [
    (42, "row that is no object"),
    (["data"], "row that is no object"),
    (None, "row that is no object"),
    ({"label": 1}, "data missing"),
    (row(None), "data missing"),
    (row(17), "data is not text"),
    (row(["X:1"]), "data is not text"),
    (row(""), "data empty"),
    (row(" \n\t"), "data empty"),
    (row("<!DOCTYPE html><p>M:4/4 K:C not found</p>"), "data is a web page"),
    (row("X:1\nM:4/4\nabcd"), "no key"),
    (row(HEAD + "z4 | z4 | z4 |]"), "no notes"),
    (row(HEAD), "no notes"),
    (row(HEAD.replace("2/4", "0/4") + BODY), "metre with a zero or without numbers"),
    (row(HEAD.replace("2/4", "4/0") + BODY), "metre with a zero or without numbers"),
    (row(HEAD.replace("2/4", "four/4") + BODY), "metre with a zero or without numbers"),
    (row(HEAD + "c4 | [M:0/8] c2 d2 |]"), "metre with a zero or without numbers"),
    (row(HEAD.replace("2/4", "none") + "c2 d2 | c8 | e3 | c2 e4 | e5 | c2 d2 c2 |]"), "no metre"),
    (row(HEAD + "c2 d2 | e2 f3 | g2 a2 | c4 | c4 | e2 e2 |]"), "bars do not add up"),
    (row(HEAD + "c2 d2 | c4 |]"), "fewer than 8 notes"),
    (row(label="42"), "label is no nation"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_rows_that_must_be_refused(value, reason):
    assert outcome(value) == reason


def test_what_the_abc_reader_refuses_is_counted_by_its_message():
    assert outcome(row(HEAD.replace("K:C", "K:H") + BODY)).startswith("ABC: ")


def test_a_nation_for_all_rows_stands_in_for_their_labels(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [row(label="Liyue"), row(label="Belobog"), row(data="")])
    readings = list(HoyoMusicRows(path, "mine", "Natlan").read())
    assert [(reading.place, reading.region, reading.reason) for reading in readings] == [
        ("mine#1", "Natlan", ""),
        ("mine#2", "Natlan", ""),
        ("mine#3", "Natlan", "data empty"),
    ]
    assert HoyoMusicRows(path, "mine", "Natlan").fingerprint() != HoyoMusicRows(path, "mine").fingerprint()


def test_transposed_copies_are_duplicates():
    lower = "X:1\nL:1/8\nM:2/4\nK:C\nc2 d2 | e2 f2 | g2 e2 | c4 | c2 G2 |]"
    higher = "X:1\nL:1/16\nM:2/4\nK:D\nd4 e4 | f4 g4 | a4 f4 | d8 | d4 A4 |]"
    marked = mark_duplicates(examine(read_row(row(data), "rows")) for data in (lower, higher))
    assert [candidate.reason for candidate in marked] == ["", "exact duplicate"]


def write_rows(path, rows):
    """Write rows into the container that the path's suffix names."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        data = "\n".join(json.dumps(value, ensure_ascii=False) for value in rows).encode()
    elif name.endswith(".json"):
        data = json.dumps(rows).encode()
    else:
        text = io.StringIO()
        table = csv.DictWriter(text, ["prompt", "data", "label"])
        table.writeheader()
        table.writerows(rows)
        data = text.getvalue().encode("utf-8-sig")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def outcomes(path):
    return Counter((reading.region, reading.reason) for reading in HoyoMusicRows(path).read())


PLAIN_ROWS = [row(), row(label="6"), row(label="稻妻"), row(data=""), row(label="Belobog")]
PLAIN_OUTCOMES = Counter(
    [("Liyue", ""), ("Natlan", ""), ("Inazuma", ""), ("Liyue", "data empty"), ("", "label is no nation")]
)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.jsonl.gz", "a.json.gz", "a.csv.gz", "A.JSONL"])
def test_containers(tmp_path, name):
    assert outcomes(write_rows(tmp_path / name.lower(), PLAIN_ROWS).rename(tmp_path / name)) == PLAIN_OUTCOMES


def test_a_list_under_data(tmp_path):
    path = write_rows(tmp_path / "a.json", {"data": PLAIN_ROWS})
    assert outcomes(path) == PLAIN_OUTCOMES


def test_a_folder_with_several_files(tmp_path):
    write_rows(tmp_path / "set" / "train.jsonl", PLAIN_ROWS)
    write_rows(tmp_path / "set" / "more" / "test.csv", PLAIN_ROWS)
    (tmp_path / "set" / "dataset_info.json").write_text('{"features": {}}')
    (tmp_path / "set" / "train.arrow").write_bytes(b"the same rows again")
    readings = list(HoyoMusicRows(tmp_path / "set").read())
    assert [reading.place for reading in readings][::5] == ["hoyomusic/more/test.csv#1", "hoyomusic/train.jsonl#1"]
    assert Counter((reading.region, reading.reason) for reading in readings) == PLAIN_OUTCOMES + PLAIN_OUTCOMES


def test_a_bad_line_is_one_refused_row_with_its_number(tmp_path):
    good, long = json.dumps(row()), json.dumps(row("X" * 2**20))
    lines = [good, '{"prompt": "S:1', "", json.dumps("text"), long, "[" * 9999, good]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = [(reading.place, reading.reason) for reading in HoyoMusicRows(tmp_path / "a.jsonl").read()]
    assert found == [
        ("hoyomusic#1", ""),
        ("hoyomusic#2", "row that is no object"),
        ("hoyomusic#3", "row that is no object"),
        ("hoyomusic#4", "row that is too long"),
        ("hoyomusic#5", "row that is no object"),
        ("hoyomusic#6", ""),
    ]


def test_a_csv_field_that_is_too_long_costs_its_row(tmp_path):
    write_rows(tmp_path / "a.csv", [row(), row("X" * 200_000), row()])
    assert [reading.reason for reading in HoyoMusicRows(tmp_path / "a.csv").read()].count("") == 2


def test_errors(tmp_path):
    with pytest.raises(CorpusError, match="holds no rows; rows are .jsonl, .json, .csv"):
        HoyoMusicRows(tmp_path)
    (tmp_path / "a.json").write_text('{"rows": 3}')
    with pytest.raises(CorpusError, match=r"a.json: holds no list of rows; rows are a JSON list or"):
        list(HoyoMusicRows(tmp_path).read())
    assert HoyoMusicRows(tmp_path).licence == LICENCE


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_arrow_needs_pyarrow(tmp_path, suffix, monkeypatch):
    (tmp_path / f"a{suffix}").write_bytes(b"PAR1")
    monkeypatch.setattr("hoyomusic.corpus.hoyomusic_rows.util.find_spec", lambda name: None)
    with pytest.raises(MissingPartError, match="Parquet and Arrow files need pyarrow; run: pip install pyarrow"):
        HoyoMusicRows(tmp_path)


def test_where_the_set_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOYOMUSIC_DATA", str(tmp_path / "user"))
    with pytest.raises(CorpusError, match=r"put its file \(genshin.jsonl\) into data/hoyomusic or "):
        find_hoyomusic(None)
    (tmp_path / "user" / "hoyomusic").mkdir(parents=True)
    assert find_hoyomusic(None) == tmp_path / "user" / "hoyomusic"
    (tmp_path / "data" / "hoyomusic").mkdir(parents=True)
    assert find_hoyomusic(None).resolve() == tmp_path / "data" / "hoyomusic"
    with pytest.raises(CorpusError, match="elsewhere: there is no such file or folder; name the file"):
        find_hoyomusic(tmp_path / "elsewhere")
    assert find_hoyomusic(tmp_path) == tmp_path
