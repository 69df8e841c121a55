"""The rules of the printed page, checked on fractions by code that shares nothing with the grammar."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from hoyomusic.tune import Bar, Metre, Tune

# No chord is wider, from one of its notes to the next.
WIDEST_STEP = 16


def check_strictly(
    tune: Tune, *, bars: int | None = None, form: str | None = None, finals: Collection[int] | None = None
) -> None:
    """Assert that a tune is sound, and if asked that it has so many bars, a form, and an end on one of `finals`."""
    assert not tune.faults()
    assert set(tune.play_order()) == set(range(len(tune.bars))), "every bar is played"
    sections = split_sections(tune)
    upbeat = find_upbeat(tune, sections)
    check_bars(tune, sections, upbeat)
    check_endings(tune.bars)
    for bar in tune.bars:
        check_tuplets(bar)
        check_chords(bar)
    check_ties(tune)
    if bars is not None:
        assert count_written(tune, sections, upbeat) == bars
    if form is not None:
        check_form(tune, sections, form)
    if finals is not None:
        check_final(tune, finals)


def split_sections(tune: Tune) -> list[list[int]]:
    """The indices of the bars between double bars and repeat signs; each ending but the first stands alone."""
    sections: list[list[int]] = [[]]
    for index, bar in enumerate(tune.bars):
        if bar.opens and sections[-1]:
            sections.append([])
        sections[-1].append(index)
        if bar.closes or bar.double:
            sections.append([])
    return [section for section in sections if section]


def find_upbeat(tune: Tune, sections: list[list[int]]) -> Fraction:
    first = tune.bars[0].length
    return first if first < tune.metre.length and len(sections[0]) > 1 else Fraction(0)


def metre_of_each(tune: Tune) -> list[Metre]:
    metre, found = tune.metre, []
    for bar in tune.bars:
        if bar.metre is not None:
            assert bar.metre != metre, "a change changes something"
            metre = bar.metre
        found.append(metre)
    return found


def check_bars(tune: Tune, sections: list[list[int]], upbeat: Fraction) -> None:
    metres, key = metre_of_each(tune), tune.key
    for section in sections:
        lengths = [tune.bars[index].length for index in section]
        full = [metres[index].length for index in section]
        first = tune.bars[section[0]]
        assert len({metres[index] for index in section}) == 1, "the metre changes between sections only"
        if upbeat and not first.ending:
            assert lengths[0] == upbeat, "each section starts with the tune's upbeat"
            assert len(section) > 1
            lengths, full = lengths[1:], full[1:]
        assert lengths[:-1] == full[:-1], "a bar is as long as its metre"
        assert lengths[-1] == full[-1] - upbeat, "each section ends with the complement"
        for index in section:
            bar = tune.bars[index]
            if bar.metre is not None or bar.key is not None:
                assert not upbeat and index == section[0] and not bar.ending and index, "changes stand at a section"
            if bar.key is not None:
                assert bar.key != key
                key = bar.key


def check_endings(bars: tuple[Bar, ...]) -> None:
    """A first ending stands within a repeat, closes it, and a second follows at once; both have one or two bars."""
    numbered = [index for index, bar in enumerate(bars) if bar.ending]
    assert [bars[index].ending for index in numbered] == [(1,), (2,)] * (len(numbered) // 2)
    for first, second in zip(numbered[::2], numbered[1::2], strict=True):
        assert 1 <= second - first <= 2
        assert bars[second - 1].closes == 2
        stop = next(
            index
            for index in range(second, len(bars))
            if bars[index].double or bars[index].closes or index == len(bars) - 1
        )
        assert stop - second <= 1
        assert not bars[stop].closes
        opened = [index for index in range(first) if bars[index].opens]
        assert opened, "an ending without a repeat"
        assert not any(bar.closes or bar.double for bar in bars[opened[-1] : first])


def check_tuplets(bar: Bar) -> None:
    """Lengths off the 64ths come in groups of like denominator that fill a span of whole 64ths within the bar."""
    group: list[Fraction] = []
    for note in bar.notes:
        if not group and (note.length * 64).denominator == 1:
            continue
        group.append(note.length)
        odd = {_odd((length).denominator) for length in group}
        assert len(odd) == 1 or (len(odd) == 2 and 1 in odd), f"a tuplet of several kinds: {group}"
        if (sum(group) * 64).denominator == 1:
            assert sum(group) <= max(odd) * group[0], f"a tuplet longer than its span: {group}"
            group = []
    assert not group, "a tuplet that does not close within its bar"


def _odd(number: int) -> int:
    while number % 2 == 0:
        number //= 2
    return number


def check_chords(bar: Bar) -> None:
    for note in bar.notes:
        heights = [pitch.midi for pitch in note.pitches]
        assert len(heights) <= 4
        assert all(0 < above - below <= WIDEST_STEP for below, above in zip(heights, heights[1:], strict=False))


def check_ties(tune: Tune) -> None:
    """A tie leads to a note of the same spelling alone, the next as written."""
    notes = list(tune.notes())
    for note, following in zip(notes, [*notes[1:], None], strict=True):
        if note.ties:
            assert note.ties == note.pitches
            assert following is not None
            assert set(note.pitches) <= set(following.pitches)


def count_written(tune: Tune, sections: list[list[int]], upbeat: Fraction) -> int:
    """Written bars without upbeats."""
    return len(tune.bars) - sum(bool(upbeat) and not tune.bars[section[0]].ending for section in sections)


def check_form(tune: Tune, sections: list[list[int]], form: str) -> None:
    bars = tune.bars
    assert not bars[-1].double
    if form == "through":
        assert len(sections) == 1
        assert not any(bar.opens or bar.closes or bar.ending or bar.double for bar in bars)
        return
    played = [section for section in sections if bars[section[0]].ending != (2,)]
    assert len(played) == {"AABB": 2, "AABA": 3}[form]
    repeated = [bars[section[0]].opens and bars[section[-1]].closes == 2 for section in played]
    if form == "AABB":
        assert repeated == [True, True]
        return
    assert repeated == [True, False, False]
    assert not any(bar.ending for bar in bars)
    assert not any(bar.opens for bar in bars[1:])
    first, _, last = ([bars[index].notes for index in section] for section in played)
    assert first == last, "the first section comes again note for note"


def check_final(tune: Tune, finals: Collection[int]) -> None:
    key = next((bar.key for bar in reversed(tune.bars) if bar.key is not None), tune.key)
    last = tune.bars[-1].notes[-1]
    assert last.pitches, "the tune ends with a note"
    assert (last.pitches[-1].midi - key.tonic_pitch.midi) % 12 in finals
