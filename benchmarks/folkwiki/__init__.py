"""The same-data benchmark of Scandinavian folk tunes: nats per token on the published split, lever by lever.

::

    tokens.py      the published words to ids that are relative to the key, one for one, and back
    clock.py       where in bar, section and tune a word stands, from the words before it
    recall.py      what followed the longest match: in the tune so far, in the training tunes, in bars before
    writing.py     the default corpus in the published words
    data.py        what is learned from and what is judged, no near duplicate on both sides, and the inputs
    network.py     3 x [LSTM -> BatchNorm -> Dropout] that is also given clock and recall
    learning.py    training within a budget of CPU seconds, resumable, weights averaged
    cache.py       a model of contexts that learns the tune while it reads it, and its mixture with the network
    __main__.py    the rows of the table
"""
