"""What was typed wrongly, told in one line: where, what, and what would be right; typer itself takes five.

typer's own classes of errors are private, but not what they carry: the context, the option, the parameter.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from hoyomusic.errors import UsageError, find_nearest, suggest

# What is wanted where an option's type cannot read a value; all text is a string and a path.
_WANTED = {int: "a whole number", float: "a number"}


class _Reader:
    """Reads the values of an option or argument of a type, or of a list of it."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        """A value as typed, or the default, as what it stands for; None where there is neither."""
        if value is None:
            return None
        for kind in get_args(self._annotation):
            return [_read(kind, each, param, ctx) for each in value]
        return _read(self._annotation, value, param, ctx)


def _read(kind: type, value: Any, param: Any, ctx: typer.Context) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise typer.BadParameter(f"{value[:60]!r} is not {_WANTED[kind]}", ctx=ctx, param=param) from error


class _ReadByTypes:
    """A command whose values Python's own types read: typer would import pydantic, which takes longer than some
    commands do.
    """

    def get_params(self, context: typer.Context) -> list[Any]:
        """The options and arguments, that of the help included."""
        parameters = super().get_params(context)
        for parameter in parameters:
            # By this method typer asks a parameter how to read a value.
            parameter.get_runtime_param = partial(_Reader, parameter.type_descriptor.annotation)
        return parameters


class Command(_ReadByTypes, TyperCommand):
    """A command."""


class Commands(_ReadByTypes, TyperGroup):
    """A group of commands that guesses what a mistyped one was meant to be, and shows its help to who names none."""

    def parse_args(self, context: typer.Context, arguments: list[str]) -> list[str]:
        """The arguments behind the group's own options."""
        if not arguments:
            print(context.get_help(), file=sys.stderr)
            raise typer.Exit(UsageError.exit_code)
        return super().parse_args(context, arguments)

    def resolve_command(self, context: typer.Context, arguments: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that the first of the arguments names. Raises UsageError where there is none."""
        name = arguments[0]
        if self.get_command(context, name) is None:
            where = _command(context)
            raise UsageError(f"there is no command {name!r}", where=where, remedy=suggest(name, self.commands))
        return super().resolve_command(context, arguments)


def explain(error: typer.TyperException) -> UsageError:
    """typer's complaint about a command line as one of ours."""
    context = getattr(error, "ctx", None)
    parameter, option = getattr(error, "param", None), getattr(error, "option_name", None)
    if option is not None and not hasattr(error, "possibilities"):
        # Raised without its context: the option has a value and takes none, or the other way round.
        if "requires" in error.message:
            return UsageError("its value is missing", where=option, remedy="write it behind the option")
        return UsageError("takes no value", where=option, remedy=f"write {option} alone")
    if context is None:
        return UsageError(_sentence(error.format_message()), remedy="see hoyo --help")
    help_command = f"see {context.command_path} --help"
    if option is not None:
        known = [name for each in context.command.get_params(context) for name in (*each.opts, *each.secondary_opts)]
        nearest = find_nearest(option, known)
        remedy = help_command if nearest is None else f"did you mean {nearest}?"
        if option in (name for each in context.find_root().command.params for name in each.opts):
            remedy = f"write it before the command: hoyo {option} {_command(context)}"
        return UsageError(f"there is no option {option!r}", where=_command(context), remedy=remedy)
    if parameter is None:
        return UsageError(_sentence(error.message), where=_command(context), remedy=help_command)
    is_option = parameter.param_type_name == "option"
    name = "/".join(parameter.opts) if is_option else parameter.metavar or parameter.name.upper()
    if not error.message:
        return UsageError(f"{name} is missing", where=_command(context), remedy=help_command)
    return UsageError(error.message, where=name, remedy=help_command)


def _command(context: typer.Context) -> str | None:
    """The words of a command, without the program's name; None for the program itself."""
    return context.command_path.partition(" ")[2] or None


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")
