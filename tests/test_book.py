"""Our book of tunes: a sound one for each nation, in its metre, scale and tempo, and the same for abc2midi."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import symusic

from hoyomusic import abc
from hoyomusic.regions import REGIONS, find_region
from hoyomusic.vocab import Vocabulary
from tests.conftest import BOOK

READINGS = abc.read(BOOK.read_text(encoding="utf-8"))


def test_there_is_a_tune_for_each_nation() -> None:
    assert [reading.tune.header.region for reading in READINGS] == [region.name for region in REGIONS]
    assert len({reading.tune.header.title for reading in READINGS}) == len(REGIONS)


def test_every_tune_is_sound_and_ours() -> None:
    vocabulary = Vocabulary.build()
    for tune, notices in READINGS:
        assert tune.faults() == []
        assert notices == ()
        assert tune.header.composer == "HoyoMusic"
        assert 8 <= len(tune.bars) <= 20
        assert abc.parse(abc.write(tune)) == [tune]
        if not tune.key.explicit:  # the words of the model have no keys with accidentals of their own
            assert vocabulary.decode(vocabulary.encode(tune)) == tune


def test_every_tune_is_in_the_manner_of_its_nation() -> None:
    for tune, _ in READINGS:
        region = find_region(tune.header.region)
        slow, fast = region.tempo
        assert slow <= tune.header.tempo.quarters_per_minute <= fast
        assert str(tune.metre) in dict(region.metres)
        used = {(pitch.midi - tune.key.tonic_pitch.midi) % 12 for note in tune.notes() for pitch in note.pitches}
        last = [note for note in tune.notes() if note.pitches][-1]
        final = (last.top.midi - tune.key.tonic_pitch.midi) % 12
        if region.scales:
            assert any(used <= set(scale.semitones) and final in scale.finals for scale in region.scales)
    liyue = READINGS[2].tune
    degrees = {(note.top.midi - liyue.key.tonic_pitch.midi) % 12 for note in liyue.notes()}
    assert degrees == {0, 2, 4, 7, 9}  # the five notes of most Chinese folk song


def test_abc2midi_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    program = Path(symusic.__file__).parent / "bin" / "abc2midi"
    copy = shutil.copy(BOOK, tmp_path)  # it writes beside what it reads
    done = subprocess.run([program, copy], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if "rror" in line or "arning" in line] == []
    assert len(list(tmp_path.glob("*.mid"))) == len(REGIONS)
