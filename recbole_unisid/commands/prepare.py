"""``recbole-unisid prepare``: originals or one's own tables to RecBole atomic files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_unisid.commands.options import known_options, positional, true_or_false, whole_number
from recbole_unisid.data.atomic_files import is_prepared
from recbole_unisid.data.columns import parse_columns
from recbole_unisid.data.disk import dataset_folder
from recbole_unisid.data.own_tables import prepare_from_tables
from recbole_unisid.data.prepare import prepare
from recbole_unisid.data.summary import Summary
from recbole_unisid.errors import UserError

HELP = """\
usage: recbole-unisid prepare NAME [--key=value ...]
       recbole-unisid prepare [NAME] --from-csv=F [--items=F] [--columns=...] [--key=value ...]

Make DATA_PATH/NAME/ with NAME.inter and NAME.item out of public originals (downloaded, or from --raw)
or of your own tables.

  NAME                    amazon-beauty, amazon-video-games-23, ml-20m, yelp, steam ... (a wrong name lists them)
  --data_path=dataset     where data sets are
  --raw=DIR               a folder with the originals, instead of downloading them
  --mirror=URL            tried before the known places; several with commas
  --core=5                k-core filter
  --duplicates=first      a pair seen again: first, last, exact (same time too) or all
  --check_counts=true     refuse a result that has not the published counts

  --overwrite             replace the data set that is there

Your own tables (CSV, TSV, JSON lines, Parquet):
  --from-csv=F            interactions, with the items' text or without
  --items=F               items and their text
  --columns=user=buyer,item=sku,time=date,title=name,category=group,brand=maker,price=eur,text=notes+colour
  --dates=day-first       or month-first, where 01/02/2025 may be either
  --encoding=cp1252       of CSV; found out and said where it is not given
  --quotes=none           " in CSV is an ordinary character (csv: it quotes, over several lines too)
  --dry-run               only say what would be read and dropped
"""

_OF_TABLES = ("dry_run", "items", "columns", "dates", "encoding", "quotes")


def main(arguments: Sequence[str]) -> int:
    """Run the subcommand; see :data:`HELP`."""
    name, rest = positional(arguments)
    options = known_options("prepare", HELP, rest)
    summary = _from_tables(name, options) if "from_csv" in options else _from_originals(name, options)
    print(summary.as_table())
    return 0


def _from_tables(name: str | None, options: Mapping[str, str]) -> Summary:
    for key in ("raw", "mirror", "check_counts"):
        if key in options:
            raise UserError(f"--{key} is for originals of public data sets; leave it out with --from-csv.")
    name = name or Path(options["from_csv"]).name.partition(".")[0]
    if "dry_run" not in options:
        _refuse_to_overwrite(name, options)
    return prepare_from_tables(
        options["from_csv"],
        options.get("items"),
        parse_columns(options["columns"]) if "columns" in options else {},
        name,
        options.get("data_path", "dataset"),
        dry_run="dry_run" in options,
        core=whole_number(options, "core", 0) or 1,
        duplicates=options.get("duplicates", "exact"),
        encoding=options.get("encoding"),
        dates=options.get("dates"),
        quotes=options.get("quotes"),
    )


def _refuse_to_overwrite(name: str, options: Mapping[str, str]) -> None:
    """Ask for ``--overwrite`` where a data set of that name is there; one that is damaged may be replaced."""
    folder = dataset_folder(name, options.get("data_path", "dataset"))
    try:
        there = is_prepared(folder)
    except UserError:
        there = False
    if there and "overwrite" not in options:
        raise UserError(f"{folder} holds a data set: say --overwrite to replace it, or choose another name.")


def _from_originals(name: str | None, options: Mapping[str, str]) -> Summary:
    if name is None:
        raise UserError(
            "prepare needs a name, such as amazon-beauty, or --from-csv=FILE (see prepare --help)."
        )
    for key in _OF_TABLES:
        if key in options:
            raise UserError(f"--{key.replace('_', '-')} goes with --from-csv.")
    _refuse_to_overwrite(name, options)
    mirrors = [url for url in options.get("mirror", "").split(",") if url]
    return prepare(
        name,
        options.get("data_path", "dataset"),
        raw=options.get("raw"),
        mirrors=mirrors,
        core=whole_number(options, "core", 0),
        duplicates=options.get("duplicates"),
        check_counts=true_or_false(options, "check_counts", usual=True),
    )
