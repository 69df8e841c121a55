"""Real tunes must sound as two independent readers of ABC, abc2midi one of them, say they sound."""

from __future__ import annotations

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import pytest

from hoyomusic import abc
from hoyomusic.errors import AbcError
from hoyomusic.tune import Tune

ORACLE = Path(__file__).parents[2] / "shared" / "data" / "abc_oracle_dev.json"
TOLERANCE = Fraction(1, 96)  # of a crotchet: the grid of the MIDI files that confirm the notes


def melody(tune: Tune) -> list[tuple[Fraction, Fraction, int]]:
    """What is heard, as (onset, duration, MIDI pitch) in crotchets: repeats played, ties joined, top notes only."""
    heard: list[list] = []
    onset, sounding = Fraction(0), None
    for index in tune.play_order():
        for note in tune.bars[index].notes:
            if note.pitches and note.top.midi == sounding:
                heard[-1][1] += note.length * 4
            elif note.pitches:
                heard.append([onset, note.length * 4, note.top.midi])
            sounding = note.top.midi if note.pitches and note.top in note.ties else None
            onset += note.length * 4
    return [tuple(each) for each in heard]


def agree(heard, expected) -> bool:
    return len(heard) == len(expected) and all(
        mine[2] == theirs[2] and abs(mine[0] - theirs[0]) <= TOLERANCE and abs(mine[1] - theirs[1]) <= TOLERANCE
        for mine, theirs in zip(heard, expected, strict=True)
    )


@pytest.fixture(scope="module")
def oracle() -> list[dict]:
    if not ORACLE.exists():
        pytest.skip("the oracle of real tunes is not on this machine")
    return json.loads(ORACLE.read_text("utf-8"))["tunes"]


def test_uncontested_tunes_sound_as_the_oracle_says(oracle):
    wrong = []
    for entry in oracle:
        if not entry["contested"]:
            expected = [(Fraction(str(o)), Fraction(str(d)), p) for o, d, p in entry["notes"]]
            if not agree(melody(abc.parse_one(entry["abc"])), expected):
                wrong.append(entry["id"])
    assert wrong == []


def test_write_then_parse_is_the_identity_on_real_tunes(oracle):
    for entry in oracle:
        for reading in abc.read_each(entry["abc"]):
            if not isinstance(reading, AbcError):
                [again] = abc.parse(abc.write(reading.tune))
                assert again == reading.tune, entry["id"]
                assert again.header == reading.tune.header, entry["id"]


def test_implied_repeats_become_pairs(oracle):
    for entry in oracle:
        for tune in abc.parse_each(entry["abc"]):
            if isinstance(tune, Tune):
                assert [fault for fault in tune.faults() if "repeat" in fault.message or "tie" in fault.message] == []


def heard_by_abc2midi(text: str, folder: Path, monkeypatch) -> list[tuple[Fraction, Fraction, int]]:
    """The first track that abc2midi makes of a text; its starts are a tick late, its lengths a tick short."""
    import symusic

    monkeypatch.chdir(folder)  # it leaves files where it runs
    score = symusic.Score.from_abc(text)
    highest: dict[int, tuple[int, int]] = {}
    for note in score.tracks[0].notes:
        start = note.start - 1
        if start not in highest or highest[start][1] < note.pitch:
            highest[start] = note.duration + 1, note.pitch
    ticks = score.ticks_per_quarter
    return [
        (Fraction(start, ticks), Fraction(duration, ticks), pitch)
        for start, (duration, pitch) in sorted(highest.items())
    ]


CANONICAL = {
    "implied starts": "M:4/4\nL:1/4\nK:D\nABcd:|efga:|bagf||edcB:|",
    "endings": "M:2/4\nL:1/8\nK:G\nGABc|1d2d2:|2e2e2||fgab|1c4:|2B4|]",
    "three plays": "M:2/4\nL:1/8\nK:G\n|:GABc|[1,2 d4:|[3 e4||g4|]",
    "tuplets": "M:6/8\nL:1/8\nK:Ador\n(2ABc3|(4ABcd c3|(3ABc (3:2:2A2BA|",
    "broken rhythm": "M:4/4\nL:1/8\nK:Bb\nA>Bc<d e>>fg2|A<(3Bcd z>e f2 g|",
    "accidentals": "M:4/4\nL:1/8\nK:E\n^ddD=D d'c_bB|_c^^c__B=d cBcd|",
    "ties": "M:3/4\nL:1/8\nK:F\n^c4-|c2-c2c2|[^FA]2-[FA]4-|[FA]6|",
    "changes": "M:3/4\nL:1/8\nK:C\nfcg ^f3|[K:D]f2 c4|[M:2/4]f=f cc|[K:Eb][M:3/8]e a b|",
    "parts": "P:ABA\nM:2/4\nL:1/8\nK:G\nP:A\nGABc:|\nP:B\ndefg|",
    "rests": "M:2/4\nL:1/8\nK:G\nG2z2|Z2|x2G2|",
}


@pytest.mark.parametrize("body", CANONICAL.values(), ids=CANONICAL)
def test_abc2midi_hears_canonical_text_as_we_do(body, tmp_path, monkeypatch, capfd):
    tune = abc.parse_one(f"X:1\n{body}\n")
    text = abc.write(tune).replace("K:", "Q:1/4=120\nK:", 1)
    assert agree(heard_by_abc2midi(text, tmp_path, monkeypatch), melody(tune)), text


@pytest.mark.slow
def test_shipped_corpus_reads_and_comes_back():
    """All tunes that music21 ships: at least 99.5 % are read, and each of those survives write and parse."""
    folder = Path(importlib.util.find_spec("music21").submodule_search_locations[0]) / "corpus"
    count, refused = 0, 0
    for path in sorted(folder.rglob("*.abc")):
        for reading in abc.read_each(abc.decode(path.read_bytes()), source=path.name):
            count += 1
            if isinstance(reading, AbcError):
                refused += 1
                assert reading.line is not None and path.name in str(reading)
                continue
            [again] = abc.parse(abc.write(reading.tune))
            assert again == reading.tune and again.header == reading.tune.header, str(path)
    assert count == 12_978
    assert refused <= 65
