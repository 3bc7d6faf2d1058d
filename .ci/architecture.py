"""Draw docs/architecture.svg: which folder of the package imports which.

python .ci/architecture.py           write the drawing
python .ci/architecture.py --check   status 1 where it is not the imports', or an import runs against the way
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs" / "architecture.svg"

#: Every folder of the package in the data's way, and what it does. A folder imports those before it alone.
ROOMS = {
    "(root)": "errors, whole files, processes",
    "plugins": "the user's own classes",
    "data": "interactions, splits, ties, leaks",
    "config": "settings and their defaults",
    "text": "a line of text for each item",
    "embeddings": "text to vectors",
    "tokens": "vectors to codes, and their health",
    "items": "codes and an ID as one vector",
    "models": "backbones, losses, models",
    "evaluation": "ranks, metrics, intervals, controls",
    "report": "tables and one page",
    "recbole_adapter": "RecBole's config, data and trainer",
    "runs": "one run, many runs, searches",
    "serving": "a finished run in a product",
    "commands": "the command line",
}
CELL, LEFT, TOP = 26, 400, 96


def room_of(parts: tuple[str, ...]) -> str:
    """The folder below the package that a module stands in; ``(root)`` for the package's own files."""
    package = ROOT / "recbole_unisid"
    return parts[0] if parts and (package / parts[0]).is_dir() else "(root)"


def imports_of(path: Path) -> set[str]:
    """Folders that a file imports anywhere in it, inside functions too; imports for types alone left out."""
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {room_of(tuple(n.split(".")[1:])) for n in names if n.split(".")[0] == "recbole_unisid"}
    return found


def graph() -> dict[str, set[str]]:
    """Folder -> the other folders that it imports."""
    package = ROOT / "recbole_unisid"
    edges: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.parent == package and path.stem.startswith("__"):  # front doors: they hand out what is behind
            continue
        room = room_of(path.relative_to(package).parts[:-1])
        edges.setdefault(room, set()).update(imports_of(path) - {room})
    return edges


def against_the_way(edges: dict[str, set[str]]) -> list[str]:
    """Imports of a folder that comes later, or of one that `ROOMS` does not know."""
    order = list(ROOMS)
    return [
        f"{room} imports {other}"
        for room, others in sorted(edges.items())
        for other in sorted(others)
        if room not in order or other not in order or order.index(other) > order.index(room)
    ]


def svg(edges: dict[str, set[str]]) -> str:
    """The drawing: one row a folder, a filled square under each folder that it imports."""
    rooms = [room for room in ROOMS if room in edges]
    width, height = LEFT + CELL * len(rooms) + 56, TOP + CELL * len(rooms) + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        ' font-family="sans-serif" font-size="13" role="img"',
        ' aria-label="A matrix of imports: row imports column; all squares lie below the diagonal">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for at, room in enumerate(rooms):
        x, y = LEFT + CELL * at, TOP + CELL * at
        lines.append(f'<text x="12" y="{y + 18}" font-weight="bold">{room}</text>')
        lines.append(f'<text x="110" y="{y + 18}" fill="#555555">{ROOMS[room]}</text>')
        turned = f'transform="rotate(-55 {x + 13} {TOP - 8})"'
        lines.append(f'<text x="{x + 13}" y="{TOP - 8}" {turned}>{room}</text>')
        for column, other in enumerate(rooms):
            colour = "#222222" if column == at else "#2f6db3" if other in edges[room] else "#eeeeee"
            cx = LEFT + CELL * column
            title = f"<title>{room} imports {other}</title>" if other in edges[room] else ""
            lines.append(
                f'<rect x="{cx + 2}" y="{y + 2}" width="22" height="22" rx="3" fill="{colour}">{title}</rect>'
            )
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Write or check the drawing."""
    edges = graph()
    wrong = against_the_way(edges)
    for line in wrong:
        print(f"against the way: {line}")
    if "--check" in sys.argv[1:]:
        stale = not DRAWING.is_file() or DRAWING.read_text(encoding="utf-8") != svg(edges)
        if stale:
            print("docs/architecture.svg is not what the imports are: run python .ci/architecture.py")
        return int(bool(wrong) or stale)
    DRAWING.write_text(svg(edges), encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
