"""The nations: found by any of their names, honest about what they learned, musically possible."""

from __future__ import annotations

import pytest

from hoyomusic.errors import UsageError
from hoyomusic.regions import LABEL_RULES, REGIONS, Region, find_region, label_shipped_tune
from hoyomusic.tune import MODE_FIFTHS

ALL_OF_THEM = "choose one of Teyvat, Mondstadt, Liyue, Inazuma, Sumeru, Fontaine, Natlan, Snezhnaya"

by_name = pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.name)


def test_labels_are_those_of_the_hoyomusic_set() -> None:
    assert [(region.label, region.chinese) for region in REGIONS] == list(
        enumerate(["提瓦特", "蒙德", "璃月", "稻妻", "须弥", "枫丹", "纳塔", "至冬"])
    )


@by_name
def test_every_name_finds_its_nation(region: Region) -> None:
    for name in (region.name, region.name.upper(), f" {region.name.lower()} ", region.chinese, region.label):
        assert find_region(name) is find_region(str(name)) is region


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Mondstat", "there is no nation 'Mondstat'; did you mean Mondstadt?"),
        ("inazum", "there is no nation 'inazum'; did you mean Inazuma?"),
        ("../../etc", f"there is no nation '../../etc'; {ALL_OF_THEM}"),
        ("", f"there is no nation ''; {ALL_OF_THEM}"),
        ("8", f"there is no nation '8'; {ALL_OF_THEM}"),
    ],
)
def test_no_other_name_finds_one(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_region(name)
    assert str(caught.value) == message


@by_name
def test_a_nation_is_learned_or_has_scales(region: Region) -> None:
    assert region.learned != bool(region.scales)
    assert region.about.startswith("styled by rule: ") != region.learned


@by_name
def test_a_nation_is_playable(region: Region) -> None:
    slow, fast = region.tempo
    assert 20 <= slow < fast <= 400
    assert all(0 <= program <= 127 for program in region.programs)
    assert len(set(region.programs)) == len(region.programs) >= 2
    shares = [share for _, share in region.metres]
    assert shares == sorted(shares, reverse=True)
    assert 90 <= sum(shares) <= 100
    for metre, _ in region.metres:
        beats, unit = map(int, metre.split("/"))
        assert beats > 0
        assert unit in (2, 4, 8)


@by_name
def test_its_scales_can_be_written(region: Region) -> None:
    for scale in region.scales:
        assert scale.semitones[0] == 0
        assert list(scale.semitones) == sorted(set(scale.semitones))
        assert max(scale.semitones) < 12
        assert set(scale.finals) <= set(scale.semitones)
        assert scale.mode in MODE_FIFTHS


def test_a_styled_nation_borrows_from_a_learned_one() -> None:
    for region in REGIONS:
        if not region.learned:
            assert find_region(region.borrows).learned


@pytest.mark.parametrize(
    ("file", "origin", "region"),
    [
        ("essenFolksong/test0.abc", "Europa, Mitteleuropa, Deutschland", None),
        ("josquin/ave.abc", "", None),
        ("essenFolksong/han1.abc", "China, Shanxi, Hequ", "Liyue"),
        ("essenFolksong/boehme10.abc", "Asia, China, Yunnan", "Liyue"),
        ("essenFolksong/irl.abc", "Europa, Westeuropa, Irland", "Mondstadt"),
        ("oneills1850/0001-0050.abc", "", "Mondstadt"),
        ("airdsAirs/book1.abc", "", "Mondstadt"),
        ("miscFolk/northumbrianSmallpipe.abc", "", "Mondstadt"),
        ("essenFolksong/lot.abc", "Europa, Mitteleuropa, Lothringen", "Fontaine"),
        ("essenFolksong/erk1.abc", "Europa, Osteuropa, Polen", "Snezhnaya"),
        ("essenFolksong/erk1.abc", "Europa, Mitteleuropa, Deutschland", "Teyvat"),
        ("ryansMammoth/ACorporal.abc", "", "Teyvat"),
    ],
)
def test_the_first_rule_that_matches_labels_a_shipped_tune(file: str, origin: str, region: str | None) -> None:
    assert label_shipped_tune(file, origin).region == region


def test_a_rule_that_leaves_tunes_out_says_why() -> None:
    for rule in LABEL_RULES:
        assert (rule.region is None) == bool(rule.why)
