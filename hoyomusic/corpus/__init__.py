"""Where tunes come from: one module a source, and the steps from what it holds to what is learned.

Sources: `shipped` (the ABC that music21 ships), `abc_files` (a user's own), `hoyomusic_rows` (the
hoyoMusic set), `symbtr` (scores of makam music). Steps, in order: `candidates` examines each tune with `cleaning`, `modes` and
`rebarring`; `duplicates` and `split` compare them; `collection` is the result, `loading` the way there,
`cache` and `records` keep it between runs, `registry` knows the user's own corpora by name.
"""

from __future__ import annotations

from hoyomusic.corpus.collection import Corpus, CorpusReport, CorpusTune
from hoyomusic.corpus.loading import load_corpus
from hoyomusic.corpus.registry import UserCorpus, add_corpus, registered

__all__ = ["Corpus", "CorpusReport", "CorpusTune", "UserCorpus", "add_corpus", "load_corpus", "registered"]
