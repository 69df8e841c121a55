"""`hoyo regions`: the nations, and what each is made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hoyomusic.cli.console import examples, new_table, output, write_json
from hoyomusic.regions import REGIONS, Region

EXAMPLES = examples("hoyo regions", "hoyo regions --json")


def regions(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a nation.")] = False) -> None:
    """Show the nations: learned from tunes or styled by rule, scale, metres, tempo, instruments."""
    if as_json:
        for region in REGIONS:
            write_json(describe(region))
        return
    table = new_table("nation", "", "", "metres", "tempo", "instruments", numbers=("tempo",))
    for region in REGIONS:
        entry = describe(region)
        metres = ", ".join(f"{metre} {share} %" for metre, share in list(entry["metres"].items())[:4])
        table.add_row(
            region.name, region.chinese, "learned" if region.learned else "styled",
            metres, "-".join(map(str, region.tempo)), ", ".join(entry["instruments"][:3]),
        )
    console = output()
    console.print(table)
    console.print()
    for region in REGIONS:
        scales = f" Scales: {', '.join(scale.name for scale in region.scales)}." if region.scales else ""
        console.print(f"{region.name}: {region.about}.{scales}")


def describe(region: Region) -> dict[str, Any]:
    """A nation as plain JSON values; tempo in crotchets a minute, scales in semitones above the key note."""
    from pretty_midi import program_to_instrument_name

    return {
        "label": region.label,
        "name": region.name,
        "chinese": region.chinese,
        "learned": region.learned,
        "about": region.about,
        "metres": dict(region.metres),
        "tempo": list(region.tempo),
        "instruments": [program_to_instrument_name(program) for program in region.programs],
        "scales": {scale.name: list(scale.semitones) for scale in region.scales},
    }
