"""``python -m hoyomusic`` is ``hoyo``."""

from __future__ import annotations

from hoyomusic.cli import main

if __name__ == "__main__":
    main()
