"""``--key=value`` arguments to settings."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence

from recbole_unisid.config.settings import as_list
from recbole_unisid.errors import UserError, did_you_mean
from recbole_unisid.plugins.loading import use

#: Flags that need no value.
_FLAGS = {"help", "list_models", "version", "dry_run", "latex", "overwrite", "explain", "small", "promote"}
#: Options of one letter that are usual elsewhere.
_SHORT = {"-h": "--help", "-k": "--k"}


def positional(arguments: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """Split off a first argument that is no option, such as a data set's name."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return None, arguments


def positionals(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tell arguments that are no options from options, whose value may be the next word.

    >>> positionals(["runs/a", "--small", "runs/b", "--to", "site"])
    (['runs/a', 'runs/b'], ['--small', '--to', 'site'])
    """
    words, options, rest = list[str](), list[str](), list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("-"):
            words.append(argument)
            continue
        options.append(argument)
        flag = _SHORT.get(argument, argument).removeprefix("--").replace("-", "_") in _FLAGS
        if "=" not in argument and not flag and rest and not rest[0].startswith("--"):
            options.append(rest.pop(0))
    return words, options


def take_extensions(arguments: Sequence[str]) -> list[str]:
    """Use the classes of ``--use=module:Class[,module:Class...]`` and return the other arguments."""
    others, rest = [], iter(arguments)
    for argument in rest:
        key, equals, value = argument.partition("=")
        if key != "--use":
            others.append(argument)
            continue
        references = as_list(value if equals else next(rest, "")) or []  # a comma too many is none
        if not references:
            raise UserError("--use names no class; write --use=module:Class.")
        for reference in references:
            use(reference)
    return others


def parse_options(arguments: Sequence[str]) -> dict[str, str]:
    """Read ``--key=value`` or ``--key value``; hyphens in keys are underscores.

    Flags have the text ``True``; ``--flag=false`` is as if it were not there.

    >>> parse_options(["--model=SASRec", "--epochs", "5", "--help"])
    {'model': 'SASRec', 'epochs': '5', 'help': 'True'}
    >>> parse_options(["-k", "10"])
    {'k': '10'}
    """
    options: dict[str, str] = {}
    key = ""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        letter, equals, value = argument.partition("=")
        argument = _SHORT.get(letter, letter) + equals + value
        if not argument.startswith("--") or argument == "--":
            several = (
                f" Or --{key} was given several values (a pattern with * that fits more?)." if options else ""
            )
            raise UserError(f"'{argument}' is no option; write --key=value (see --help).{several}")
        key, equals, value = argument[2:].partition("=")
        key = key.replace("-", "_")
        if key in _FLAGS:
            if equals and not true_or_false({key: value}, key):
                continue
            value = "True"
        elif not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"--{key} has no value; write --{key}=value (see --help).")
            value = rest.pop(0)
        value = os.path.expanduser(value) if value.startswith("~/") else value  # no shell does it behind =
        if options.get(key, value) != value:
            raise UserError(f"--{key} is given twice: {options[key]} and {value}.")
        options[key] = value
    return options


def take_config_files(options: dict[str, str]) -> list[str]:
    """Take the names of ``--config_files`` out of `options`; commas or spaces stand between them.

    >>> take_config_files({"config_files": "base.yaml,mine.yaml", "epochs": "5"}), take_config_files({})
    (['base.yaml', 'mine.yaml'], [])
    """
    if "config_files" not in options:
        return []
    names = [name for name in re.split(r"[,\s]+", options.pop("config_files")) if name]
    if not names:
        raise UserError("--config_files names no file; write --config_files=FILE[,FILE...].")
    return names


def known_options(
    command: str, usage: str, arguments: Sequence[str], settings: Collection[str] = ()
) -> dict[str, str]:
    """Options of a subcommand, all of which its `usage` names, or some settings are."""
    options = parse_options(arguments)
    names = re.findall(r"(?<!\w)--?([a-z][\w-]*)", usage)
    refuse_unknown(options, {name.replace("-", "_") for name in names} | set(settings), command)
    return options


def refuse_unknown(options: Mapping[str, str], known: Collection[str], command: str) -> None:
    """Refuse an option that a subcommand does not have."""
    for key in options:
        if key not in known:
            raise UserError(
                f"{command} has no option --{key}.{did_you_mean(key, known)} See {command} --help."
            )


def whole_number(options: Mapping[str, str], key: str, least: int) -> int | None:
    """An option that is a whole number from `least` on; None where it is not given."""
    if key not in options:
        return None
    text = options[key]
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise UserError(f"--{key}={text} is no whole number from {least} on.")
    return int(text)


def true_or_false(options: Mapping[str, str], key: str, usual: bool = False) -> bool:
    """An option that is ``true`` or ``false`` in any letter case; the `usual` where it is not given."""
    text = options.get(key, str(usual)).lower()
    if text not in {"true", "false"}:
        raise UserError(f"--{key}={options[key]} is neither true nor false.")
    return text == "true"
