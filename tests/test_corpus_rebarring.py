"""Bars by arithmetic: worked examples, and what must hold for any tune."""

from fractions import Fraction
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoyomusic.corpus.rebarring import add_missing_lines, cut, infer_metre, rebar, remove_stray_lines
from hoyomusic.tune import Bar, Key, Metre, Note, Pitch, Tune

A = Pitch("A", 0, 4)


def note(eighths, pitch=A, ties=()):
    return Note((pitch,), Fraction(eighths, 8), ties)


def make(metre, *bars):
    return Tune(Key("C"), metre, tuple(Bar(tuple(note(length) for length in bar)) for bar in bars))


def lengths(tune):
    return [[int(8 * note.length) for note in bar.notes] for bar in tune.bars]


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ([[4], [4, 4], [2, 2]], [[4], [4], [4], [2, 2]]),  # a line's end swallowed one bar line
        ([[2], [4, 4], [4, 2]], [[2], [4], [4], [4], [2]]),  # upbeat and its complement
        ([[2, 4], [4]], [[2], [4], [4]]),  # the first written line comes after upbeat and bar
        ([[1, 1, 2, 4, 2]], [[1, 1, 2], [4], [2]]),  # no written line at all
        ([[4], [4]], [[4], [4]]),
    ],
)
def test_missing_bar_lines_are_added(written, made):
    assert lengths(rebar(make(Metre(2, 4), *written))) == made


def test_a_note_that_crosses_a_new_bar_line_is_tied_over_it():
    tune = rebar(make(Metre(2, 4), [4], [3, 6, 3]))
    assert lengths(tune) == [[4], [3, 1], [4], [1, 3]]
    assert [note.ties for note in tune.notes()] == [(), (), (A,), (A,), (), ()]
    assert tune.faults() == []


def test_a_rest_that_crosses_a_new_bar_line_is_cut_without_a_tie():
    bars = (Bar((note(4),)), Bar((note(2), Note((), Fraction(4, 8)), note(2))))
    tune = rebar(Tune(Key("C"), Metre(2, 4), bars))
    assert lengths(tune) == [[4], [2, 2], [2, 2]]
    assert not any(note.ties for note in tune.notes())


def test_a_tie_that_was_written_stays_on_the_last_piece():
    bars = (Bar((note(4),)), Bar((note(6, ties=(A,)), note(2))))
    assert [note.ties for note in rebar(Tune(Key("C"), Metre(2, 4), bars)).notes()] == [(), (A,), (A,), ()]


@pytest.mark.parametrize("written", [[[4], [3, 3], [4]], [[4], [2], [4]]])
def test_a_written_bar_line_off_the_grid_leaves_the_tune_as_it_is(written):
    tune = make(Metre(2, 4), *written)
    assert rebar(tune) is tune


def test_form_and_free_metre_leave_the_tune_as_it_is():
    free = make(None, [4], [8])
    repeated = Tune(Key("C"), Metre(2, 4), (Bar((note(4),), closes=2), Bar((note(8),))))
    assert rebar(free) is free
    assert rebar(repeated) is repeated


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(2, 8),
    st.lists(st.booleans(), min_size=60, max_size=60),
)
def test_any_choice_of_bar_lines_on_the_grid_gives_the_full_grid(eighths, upbeat, beats, written):
    """Cut a melody on a grid, drop bar lines but the first at will: all come back, no sound changes."""
    upbeat = min(upbeat, beats)
    grid = cut([note(length) for length in eighths], Fraction(upbeat, 8), Fraction(beats, 8))
    sparse = [grid[0]]
    for keep, bar in zip(cycle(written), grid[1:], strict=False):
        if keep or len(sparse) == 1:
            sparse.append(bar)
        else:
            sparse[-1] = sparse[-1] + bar
    tune = Tune(Key("C"), Metre(beats, 8), tuple(Bar(tuple(bar)) for bar in sparse))
    made = rebar(tune)
    if len(sparse) > 1:
        assert [list(bar.notes) for bar in made.bars] == grid
    assert made.faults() == []
    assert sum(note.length for note in made.notes()) == Fraction(sum(eighths), 8)


@pytest.mark.parametrize(
    ("bars", "metre"),
    [
        ([[4, 4], [8], [8]], Metre(4, 4)),
        ([[2], [4], [2, 2], [2]], Metre(2, 4)),
        ([[2, 2, 2], [4, 2], [6]], Metre(3, 4)),
        ([[2, 1, 2, 1], [3, 3], [6]], Metre(6, 8)),
        ([[4]], Metre(2, 4)),
        ([[4], [6], [2]], Metre(3, 4)),
        ([[4], [4], [6], [4]], None),
        ([[7], [7], [7]], None),
        ([[8], [4], [4]], None),
    ],
)
def test_a_metre_is_inferred_from_equal_bars(bars, metre):
    assert infer_metre(make(None, *bars)) == metre


def test_a_bar_of_several_metres_is_cut_and_its_signs_stay_at_its_edges():
    whole = Bar((note(2), note(2), note(4), note(4)), opens=True, closes=2, part="A")
    tune = add_missing_lines(Tune(Key("C"), Metre(2, 4), (whole,)))
    assert tune.bars == (
        Bar((note(2), note(2)), opens=True, part="A"),
        Bar((note(4),)),
        Bar((note(4),), closes=2),
    )


@pytest.mark.parametrize("bars", [[[3, 3, 2]], [[4], [2, 4]], [[4], [2], [4]]])
def test_other_bars_are_not_cut(bars):
    """No note begins in the middle; no whole number of bars."""
    tune = make(Metre(2, 4), *bars)
    assert add_missing_lines(tune) is tune


def test_a_new_metre_is_heeded():
    bars = (Bar((note(8),)), Bar((note(4), note(4)), metre=Metre(4, 4)))
    tune = Tune(Key("C"), Metre(4, 4), bars)
    assert add_missing_lines(tune) is tune
    tune = Tune(Key("C"), Metre(4, 4), (bars[0], Bar((note(4), note(4)), metre=Metre(2, 4))))
    assert add_missing_lines(tune).bars[1:] == (Bar((note(4),), metre=Metre(2, 4)), Bar((note(4),)))


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ([[4], [1], [3], [4]], [[4], [1, 3], [4]]),
        ([[1], [3], [4], [4]], [[1], [3], [4], [4]]),  # an upbeat stays one, and so does a last bar
        ([[4], [4], [3], [1]], [[4], [4], [3], [1]]),
        ([[4], [2], [2], [2], [2], [4]], [[4], [2, 2], [2, 2], [4]]),
        ([[4], [2], [1], [4]], [[4], [2], [1], [4]]),
    ],
)
def test_two_halves_of_a_bar_are_joined_inside_a_section(written, made):
    assert lengths(remove_stray_lines(make(Metre(2, 4), *written))) == made


def test_halves_at_a_sections_edge_stay():
    for signs in ({"double": True}, {"closes": 2}):
        bars = (Bar((note(4),)), Bar((note(3),), **signs), Bar((note(1),)), Bar((note(4),)))
        tune = Tune(Key("C"), Metre(2, 4), bars)
        assert remove_stray_lines(tune) is tune
