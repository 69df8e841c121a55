"""Tunes survive the way through JSON whole, headers and all."""

import json
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.corpus.records import TuneWriter, digest_music, read_tunes
from hoyomusic.tune import Bar, Header, Key, Metre, Note, Pitch, Tempo, Tune

pitches = st.builds(Pitch, st.sampled_from("CDEFGAB"), st.integers(-2, 2), st.integers(-1, 9))
groups = st.lists(pitches, max_size=3).map(tuple)
lengths = st.fractions(Fraction(1, 64), Fraction(4), max_denominator=96)
notes = st.builds(Note, groups, lengths, groups, groups, st.sampled_from(["", "Am7", "G"]))
explicit = st.lists(st.tuples(st.sampled_from("CDEFGAB"), st.integers(-1, 1)), max_size=2).map(tuple)
modes = st.sampled_from(["major", "dorian", "none"])
keys = st.builds(Key, st.sampled_from("CDEFGAB"), st.integers(-1, 1), modes, explicit)
metres = st.builds(Metre, st.integers(1, 12), st.sampled_from([2, 4, 8]), st.sampled_from([(), (2, 3)]))
bars = st.builds(
    Bar,
    st.lists(notes, max_size=4).map(tuple),
    st.booleans(),
    st.integers(0, 3),
    st.sampled_from([(), (1,), (1, 3)]),
    st.booleans(),
    st.none() | metres,
    st.none() | keys,
    st.sampled_from(["", "A"]),
)
headers = st.builds(
    Header,
    number=st.integers(0, 9999),
    title=st.text(max_size=8),
    region=st.sampled_from(["", "Liyue"]),
    tempo=st.none() | st.builds(Tempo, lengths, st.integers(1, 300), st.text(max_size=4)),
)
tunes = st.builds(
    Tune, keys, st.none() | metres, st.lists(bars, max_size=5).map(tuple), st.sampled_from([(), ("A", "B")]), headers
)


@settings(deadline=None, max_examples=80)
@given(st.lists(tunes, max_size=4))
def test_read_inverts_record(written):
    writer = TuneWriter()
    records = json.loads(json.dumps([writer.record(tune) for tune in written]))
    read = read_tunes(*json.loads(json.dumps([writer.notes, writer.bars])), records)
    assert read == written
    assert [tune.header for tune in read] == [tune.header for tune in written]
    assert [hash(tune) for tune in read] == [hash(tune) for tune in written]


@settings(deadline=None, max_examples=80)
@given(tunes, tunes)
def test_the_digest_is_that_of_the_music(one, other):
    assert (digest_music(one) == digest_music(other)) == (one == other)
    renamed = Tune(one.key, one.metre, one.bars, one.parts, Header(title="another"))
    assert digest_music(renamed) == digest_music(one)
