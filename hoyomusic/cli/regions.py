"""`hoyo regions`: the nations, and what each is made of."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hoyomusic.cli.console import examples, new_table, output, warn, write_json
from hoyomusic.errors import CheckpointError
from hoyomusic.regions import REGIONS, Region

EXAMPLES = examples("hoyo regions", "hoyo regions --model default --json")


def regions(
    model: Annotated[
        str | None, typer.Option("--model", metavar="PATH|default", help="Whom to ask; else the one generate takes.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a nation.")] = False,
) -> None:
    """Show the nations: learned by the model or styled by rule, from how many tunes, and how they sound."""
    provenance = _ask_model(model)
    entries = [describe(region, provenance) for region in REGIONS]
    if as_json:
        for entry in entries:
            write_json(entry)
        return
    table = new_table("nation", "", "how", "tunes", "metres", "tempo", "instruments", numbers=("tunes", "tempo"))
    for entry in entries:
        metres = ", ".join(f"{metre} {share} %" for metre, share in list(entry["metres"].items())[:4])
        table.add_row(
            entry["name"], entry["chinese"], "learned" if entry["learned"] else "styled", f"{entry['tunes']:,}",
            metres, "-".join(map(str, entry["tempo"])), ", ".join(entry["instruments"][:3]),
        )
    console = output()
    console.print(table)
    console.print()
    for region in REGIONS:
        scales = f" Scales: {', '.join(scale.name for scale in region.scales)}." if region.scales else ""
        console.print(f"{region.name}: {region.about}.{scales}")


def _ask_model(model: str | None) -> dict[str, Any]:
    """What the model learned from; without any model what the default one would, and a word about it."""
    from hoyomusic.checkpoint import find_model, load_arrays

    try:
        return load_arrays(find_model(model)).provenance
    except CheckpointError as error:
        if model is not None:
            raise
        warn(str(error))
        return {"learned": [region.name for region in REGIONS if region.learned]}


def describe(region: Region, provenance: dict[str, Any]) -> dict[str, Any]:
    """A nation as plain JSON values; tempo in crotchets a minute, scales in semitones above the key note.

    `provenance` is that of a model: the nations it learned, and the usable tunes that its corpus had of each.
    """
    from pretty_midi import program_to_instrument_name

    return {
        "label": region.label,
        "name": region.name,
        "chinese": region.chinese,
        "learned": region.label == 0 or region.name in provenance.get("learned", ()),
        "tunes": provenance.get("tunes", {}).get(region.name, 0),
        "about": region.about,
        "metres": dict(region.metres),
        "tempo": list(region.tempo),
        "instruments": [program_to_instrument_name(program) for program in region.programs],
        "scales": {scale.name: list(scale.semitones) for scale in region.scales},
    }
