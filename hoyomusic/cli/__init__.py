"""The command line: parse, call, print; what is computed is computed elsewhere. Here it begins and ends.

`run` turns whatever goes wrong into one line on stderr and an exit code. `main` does so for a whole process:
streams that are closed or full, an interrupt while Python still imports, a fault of the program itself.
`commands` names the commands; all imports but the quickest come late, when somebody keeps interrupts quiet.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType

INTERRUPTED = 128 + signal.SIGINT
# So many new objects before Python looks for garbage among them. What starting makes stays: to look through it as
# often as Python does takes a twentieth of a short command.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


class Settings:
    """What is said before the command's name; each call of `run` has its own."""

    def __init__(self) -> None:
        self.debug = False


def run(arguments: Sequence[str], settings: Settings | None = None) -> int:
    """Run one command line (without the program's name); its exit code.

    0: done; 1: could not be done, or the reader of stdout went away; 2: asked for wrongly; 130: interrupted.
    A fault of the program itself is raised as it is.
    """
    import typer

    from hoyomusic.cli.commands import find_program
    from hoyomusic.cli.console import complain, describe_refusal, show_trace
    from hoyomusic.cli.usage import explain
    from hoyomusic.errors import HoyoError

    settings = Settings() if settings is None else settings
    program = find_program()
    try:
        with program.make_context("hoyo", list(arguments), obj=settings) as context:
            program.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except typer.TyperException as error:
        return complain(explain(error))
    except HoyoError as error:
        if settings.debug:
            show_trace(error)
        return complain(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return 1
    except (OSError, MemoryError) as error:
        if settings.debug:
            show_trace(error)
        return complain(describe_refusal(error))
    return 0


def main() -> None:
    """The console script `hoyo`."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        # An interrupt in the middle of an import shows where it struck, or is lost in a library's own handling.
        signal.signal(signal.SIGINT, _leave)
    import warnings

    from hoyomusic.cli import console
    from hoyomusic.cli.commands import find_program

    find_program()
    if not sys.warnoptions:
        # What libraries want to tell their programmers is not for those who make music.
        warnings.simplefilter("ignore")
    console.open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that lacks Chinese signs gets question marks, not an error.
        stream.reconfigure(errors="replace")
    settings, interrupts = Settings(), []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    def tell_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if interrupts:
            # A library that was interrupted while it was imported says that it cannot be imported.
            os._exit(INTERRUPTED)
        if settings.debug:
            console.show_trace(error)
        console.complain(console.describe_fault(error))

    sys.excepthook = tell_fault
    if interruptible:
        signal.signal(signal.SIGINT, interrupt)
    code = run(sys.argv[1:], settings)
    if interruptible:
        # What is left is the interpreter's own end, which an interrupt would litter with tracebacks.
        signal.signal(signal.SIGINT, _leave)
    # Nor need that end begin with a search for garbage: everything goes.
    gc.freeze()
    sys.exit(console.flush_output() or (INTERRUPTED if interrupts else code))


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has been done yet, or all is done, and nothing is lost."""
    os._exit(INTERRUPTED)
