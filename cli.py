"""``python cli.py`` is ``hoyo``, for those who start programs from the folder they lie in."""

from __future__ import annotations

from hoyomusic.cli import main

if __name__ == "__main__":
    main()
