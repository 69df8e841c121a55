"""The user's own corpora: names for paths, kept in the user's data folder.

A corpus is referred to, not copied: its files stay where the user keeps them and are read anew when
they change.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from hoyomusic.errors import CorpusError, UsageError
from hoyomusic.regions import find_region
from hoyomusic.storage import write_atomically

ENVIRONMENT_VARIABLE = "HOYOMUSIC_DATA"
REGISTRY_FILE = "corpora.json"
RESERVED_NAMES = ("default", "music21", "hoyomusic")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class UserCorpus:
    """A registered corpus: an absolute path, and the nation that all its tunes teach (empty: as the tunes say)."""

    path: str
    region: str = ""


def data_folder() -> Path:
    """The folder of the user's data: `HOYOMUSIC_DATA` where it is set, else the usual place of the system."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("hoyomusic"))


def registered() -> dict[str, UserCorpus]:
    """The user's corpora by name, sorted. Raises CorpusError where their list is damaged."""
    path = data_folder() / REGISTRY_FILE
    try:
        entries = json.loads(path.read_bytes())
        found = {name: UserCorpus(entry["path"], entry["region"]) for name, entry in sorted(entries.items())}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(
            "the list of your corpora is damaged", where=str(path), remedy="mend or remove it, then add them again"
        ) from error
    return found


def add_corpus(path: str | os.PathLike[str], name: str, region: str = "", *, overwrite: bool = False) -> UserCorpus:
    """Register the file or folder `path` under `name`, with one nation for all its tunes if `region` is given.

    Raises UsageError for a name that is taken, reserved or oddly written and for an unknown nation;
    CorpusError where nothing is at `path`; StorageError where the list cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a corpus", remedy="use lower-case letters, digits, - and _")
    if name in RESERVED_NAMES:
        raise UsageError(f"the name {name!r} is reserved", remedy="choose another name")
    target = Path(os.path.abspath(path))
    if not (os.path.isfile(target) or os.path.isdir(target)):
        raise CorpusError("there is no such file or folder", where=str(path), remedy="name one that there is")
    corpora = registered()
    if name in corpora and not overwrite:
        raise UsageError(
            f"the name {name!r} is taken by {corpora[name].path}", remedy="choose another name or add --force"
        )
    corpora[name] = UserCorpus(str(target), find_region(region).name if region else "")
    entries = {key: asdict(corpus) for key, corpus in sorted(corpora.items())}
    text = json.dumps(entries, ensure_ascii=False, indent=1) + "\n"
    write_atomically(data_folder() / REGISTRY_FILE, text.encode("utf-8", "surrogateescape"), overwrite=True)
    return corpora[name]
