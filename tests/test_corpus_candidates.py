"""Whatever text comes in, a candidate comes out: usable and sound, or refused with a reason."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.abc import parse_each
from hoyomusic.corpus.candidates import (
    Candidate,
    Reading,
    candidates_from_json,
    candidates_to_json,
    examine,
    mark_duplicates,
    name_abc_error,
)
from hoyomusic.corpus.cleaning import Treatment
from hoyomusic.errors import AbcError

TUNE = 'X:1\nT:Seed\nP:AB\nM:3/4\nL:1/8\nK:D\nP:A\n|:A2|d2{e}f2 "D"a2|[df]4 (3efg|1 a6:|2 a4||\nP:B\n[K:G]b2|g>f g2 e2-|e4|]\n'
PIECES = ["|", ":|", "|:", "[M:4/4]", "[M:none]", "[K:none]", "[K:Am ^f]", "-", "z3", "Z2", "(3", ">", "c0", "c99/7", "||",
          "\nP:C\n", "[CE]2", "{a}", "K:H", "\n\n", "&", "M:", "^^", "C,,,,,", "c'''''", "|1", "|3", '"x"', "x"]  # fmt: skip
treatments = st.builds(Treatment, st.booleans(), st.booleans(), st.booleans())


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(TUNE)), st.integers(0, 8), st.sampled_from(PIECES)), max_size=6), treatments)
def test_any_text_gives_sound_tunes_or_reasons(edits, treatment):
    text = TUNE
    for place, removed, piece in edits:
        text = text[:place] + piece + text[place + removed :]
    for tune in parse_each(text):
        if isinstance(tune, AbcError):
            assert name_abc_error(tune)
            continue
        candidate = examine(Reading("a#1", "Liyue", tune, treatment=treatment))
        assert (candidate.tune is None) == bool(candidate.reason)
        if candidate.tune is not None:
            assert candidate.tune.faults() == []
            assert candidate.tune.metre is not None
            assert candidate.tune.key.mode != "none"
            assert not candidate.tune.parts
            assert not any(note.graces or note.symbol for note in candidate.tune.notes())
            again = examine(Reading("a#1", "Liyue", candidate.tune, treatment=treatment))
            assert (again.tune, again.changes) == (candidate.tune, ())


def test_candidates_survive_the_cache():
    [tune] = parse_each(TUNE)
    candidates = [
        examine(Reading("a#1", "Natlan", tune)),
        examine(Reading("a#2", "", None, "label is no nation")),
        Candidate("a#3", "Liyue", None, "no metre", "abc", False),
    ]
    assert candidates[0].tune is not None
    read = candidates_from_json(json.loads(json.dumps(candidates_to_json(candidates))))
    assert read == candidates
    assert read[0].tune.header == candidates[0].tune.header


def test_the_first_usable_of_a_group_is_kept():
    [tune] = parse_each(TUNE)
    usable = examine(Reading("", "Liyue", tune))
    broken = Candidate("", "Liyue", None, "no metre", usable.signature, False)
    other = Candidate("", "Liyue", None, "no metre", "another", False)
    unread = Candidate("", "Liyue", None, "ABC: ...", "", False)
    marked = mark_duplicates([broken, other, usable, unread, usable, broken, other, unread])
    assert [candidate.reason for candidate in marked] == [
        "exact duplicate", "no metre", "", "ABC: ...", "exact duplicate", "exact duplicate", "exact duplicate", "ABC: ...",
    ]  # fmt: skip
    assert mark_duplicates(marked) == marked


def test_reasons_are_free_of_what_they_quote():
    assert name_abc_error(AbcError("key 'Bn' has no known mode")) == "ABC: key ... has no known mode"
    assert name_abc_error(AbcError("a line of more than 10000 characters")) == "ABC: a line of more than ... characters"
    assert [name_abc_error(error) for error in parse_each("X:1\nK:C\n\nX:2\nT:none\n")] == ["no notes", "no key"]
