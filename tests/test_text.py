"""The item file as it stands, and the texts made of it."""

from pathlib import Path

import pytest

from recbole_unisid.errors import UserError
from recbole_unisid.text import default_fields, item_categories, item_texts, item_titles, read_item_file

HEADER = "item_id:token\ttitle:token_seq\tbrand:token\tcategories:token_seq\tprice:float"


def table(tmp_path, *rows, header=HEADER, **options):
    path = tmp_path / "x.item"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return read_item_file(path, **options)


def test_nothing_is_special(tmp_path):
    rows = [
        'a\t"Quoted\tNA\tnull\tNone',
        "b\t5\" nail; \u2028 \x85 tab's\t\t#\t",
        '\u00e9\U0001f600\tNaN\t"\t\\n\t1',
    ]
    items = table(tmp_path, *rows)
    assert items.ids == ["a", "b", "\u00e9\U0001f600"]
    assert items.columns["title"] == ['"Quoted', "5\" nail; \u2028 \x85 tab's", "NaN"]
    assert items.columns["brand"] == ["NA", "", '"']
    assert items.types["price"] == "float"


def test_windows_lines_byte_order_mark_and_blank_lines(tmp_path):
    path = tmp_path / "x.item"
    path.write_bytes("\ufeffitem_id:token,name:token_seq\r\n1,A\r\n\r\n2,B".encode())
    items = read_item_file(path, separator=",")
    assert items.ids == ["1", "2"]
    assert items.columns["name"] == ["A", "B"]


def test_other_encoding_and_id_field(tmp_path):
    path = tmp_path / "x.item"
    path.write_bytes("title:token_seq\tasin:token\ncaf\u00e9\tB1\n".encode("latin-1"))
    items = read_item_file(path, encoding="latin-1", id_field="asin")
    assert (items.ids, items.columns) == (["B1"], {"title": ["caf\u00e9"]})
    with pytest.raises(UserError, match="not utf-8 text"):
        read_item_file(path, id_field="asin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        (HEADER + "\n", "no item"),
        ("item_id\ttitle\na\tb\n", "line 1: 'item_id' is not name:type"),
        ("item_id:token\ta:float\ta:float\n1\t2\t3\n", "'a' stands twice"),
        ("id:token\ta:float\n1\t2\n", "no column 'item_id'"),
        ("item_id:token\ta:float\n1\t2\n2\t2\t3\n", "line 3: 3 columns where the header names 2"),
        ("item_id:token\ta:float\n1\t2\n\n1\t3\n", r"'1' stands twice \(lines 2 and 4\)"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "x.item"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_item_file(path)
    assert "\n" not in str(error.value)


def test_missing_file():
    with pytest.raises(UserError, match="No item file at"):
        read_item_file(Path("nowhere.item"))


ROWS = [
    "a\tOil\tOPI\tBeauty, Makeup, Nails\t3.0",
    "b\tSoap\t\tBeauty, Bath\t",
    "c\t\t\t\t",
    "d\t\t\tBeauty\t",
]


def test_unisid_order_without_the_root(tmp_path):
    items = table(tmp_path, *ROWS)
    assert default_fields(items) == ["title", "price", "brand", "categories"]
    texts = item_texts(items, ["b", "a", "unknown", "c", "d"])
    assert texts == ["Soap; Bath", "Oil; 3.0; OPI; Makeup; Nails", "", "", ""]
    assert item_categories(items, ["a", "b", "c", "unknown"]) == ["Makeup", "Bath", "", ""]


def test_no_root_where_items_share_none(tmp_path):
    items = table(tmp_path, "a\tx\t\tBooks, Art\t", "b\ty\t\tMusic, Jazz\t")
    assert item_texts(items, ["a"]) == ["x; Books; Art"]
    one_level = table(tmp_path, "a\tx\t\tBooks\t", "b\ty\t\tBooks\t")
    assert item_texts(one_level, ["a"]) == ["x; Books"]


def test_movie_columns(tmp_path):
    header = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"
    items = table(tmp_path, "1\tToy Story\t1995\tAnimation Comedy", header=header)
    assert item_texts(items, ["1"]) == ["Toy Story; Animation Comedy; 1995"]


def test_description_only_without_a_title(tmp_path):
    header = "item_id:token\ttitle:token_seq\tdescription:token_seq"
    assert default_fields(table(tmp_path, "1\ta\tb", header=header)) == ["title"]
    assert default_fields(table(tmp_path, "1\ta", header="item_id:token\tdescription:token_seq")) == [
        "description"
    ]
    assert default_fields(table(tmp_path, "1\ta\t2", header="item_id:token\ttext:token_seq\tn:float")) == [
        "text"
    ]
    with pytest.raises(UserError, match="no text column"):
        default_fields(table(tmp_path, "1\t2", header="item_id:token\tn:float"))


@pytest.mark.parametrize(
    ("columns", "read", "title"),
    [
        ("product notes brand price:float", "product notes price brand", "product"),
        ("Title Category price:float", "Title price Category", "Title"),
        ("product_title description brand", "product_title description brand", "product_title"),
        ("name colour", "name", "name"),
        ("price:float brand", "price brand", "brand"),
        ("price:float", "price", ""),
    ],
)
def test_a_price_or_a_brand_never_shuts_out_the_text(columns, read, title, tmp_path):
    """Without a title all text is read; names are the same in capitals; nothing is shown as its price."""
    parts = [part if ":" in part else f"{part}:token_seq" for part in columns.split()]
    names = [part.split(":")[0] for part in parts]
    items = table(tmp_path, "\t".join(["1", *names]), header="\t".join(["item_id:token", *parts]))
    assert default_fields(items) == read.split()
    assert item_titles(items, ["1"]) == [title]


def test_categories_in_capitals_lose_their_root(tmp_path):
    header = "item_id:token\tTitle:token_seq\tCategory:token_seq"
    items = table(tmp_path, "a\tOil\tBeauty, Nails", "b\tSoap\tBeauty, Bath", header=header)
    assert item_texts(items, ["a"]) == ["Oil; Nails"]
    assert item_categories(items, ["b"]) == ["Bath"]


def test_fields_and_template(tmp_path):
    items = table(tmp_path, *ROWS)
    assert item_texts(items, ["a"], fields=["brand", "title"]) == ["OPI; Oil"]
    assert item_texts(items, ["a", "c"], template="{title} by {brand}: {{{title}}}") == [
        "Oil by OPI: {Oil}",
        "",
    ]
    with pytest.raises(UserError, match=r"no column 'titel'.*Did you mean title"):
        item_texts(items, ["a"], fields=["titel"])
    with pytest.raises(UserError, match="Did you mean brand"):
        item_texts(items, ["a"], template="{brnd}")
    for bad in ("no column", "{title", "{}", "{title!r}", "{title:>9}"):
        with pytest.raises(UserError, match="text template"):
            item_texts(items, ["a"], template=bad)
    with pytest.raises(UserError, match="leaves out"):
        item_texts(items, ["a"], fields=["title"], template="{title} {brand}")
    with pytest.raises(UserError, match="no column"):
        item_texts(items, ["a"], template="{title.__class__}")
