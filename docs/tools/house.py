"""Draw the rooms of the package and the imports between them; fail where they point upwards or in a circle.

python docs/tools/house.py                      checks, and prints lines, arrows and shares
python docs/tools/house.py --out docs/house.svg draws the picture, too
python docs/tools/house.py --root OTHER …       another checkout, for instance an older one
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path

import tomllib

PACKAGE = "unlabeled"
LARGEST_SHARE = 0.15
WIDTH, ROW, BOX, GAP = 760, 62, 40, 16


@dataclass(frozen=True)
class House:
    """What there is to know of the package's structure.

    Attributes:
        layers: the rooms, from the top to the bottom; rooms of one layer never import each other.
        lines: of Python, by room.
        arrows: how many files of a room import another room.
        circle: modules that import each other in a circle, if there are any.
    """

    layers: list[list[str]]
    lines: dict[str, int]
    arrows: Counter[tuple[str, str]]
    circle: list[str]

    @property
    def upward(self) -> list[tuple[str, str]]:
        """Arrows that do not point to a lower layer."""
        level = {room: i for i, layer in enumerate(self.layers) for room in layer}
        return [(a, b) for a, b in self.arrows if level[a] >= level[b]]

    @property
    def shares(self) -> dict[str, float]:
        """The share of all lines in each room, the largest first."""
        total = sum(self.lines.values())
        return {room: n / total for room, n in sorted(self.lines.items(), key=lambda item: -item[1])}


def layers_of(root: Path) -> list[list[str]]:
    """The layers that pyproject.toml states for import-linter."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [[part.strip().removeprefix(f"{PACKAGE}.") for part in layer.split("|")] for layer in contract["layers"]]


def imports(path: Path, modules: set[str]) -> Iterator[str]:
    """The package's modules that a file imports, wherever in it; what only a type checker reads is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name in node.names:
                full = f"{node.module}.{name.name}"
                found = full if full in modules else node.module
                if found in modules:
                    yield found
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in modules)


def look(root: Path) -> House:
    """Read the package's structure from its files."""
    home = root / PACKAGE
    files = {}
    for path in sorted(home.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    layers = layers_of(root)
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        room = module.split(".")[1] if "." in module else ""
        graph[module] = set(imports(path, set(files))) - {module}
        if room and room != "__main__":
            lines[room] += len(path.read_text(encoding="utf-8").splitlines())
            targets = {target.split(".")[1] for target in graph[module] if "." in target} - {room}
            arrows.update((room, target) for target in targets)
    # a package's own front door names its files lazily; a file that asks its front door for a sibling is not a circle
    inner = {m: {t for t in found if not m.startswith(f"{t}.")} for m, found in graph.items()}
    try:
        TopologicalSorter(inner).prepare()
        circle = []
    except CycleError as error:
        circle = list(error.args[1])
    return House(layers, dict(lines), arrows, circle)


def draw(house: House) -> str:
    """The rooms as boxes, wide as their lines, a row a layer; the arrows between neighbouring layers and beyond."""
    largest = max(house.lines.values())
    place: dict[str, tuple[float, float, float]] = {}
    boxes = []
    for i, layer in enumerate(house.layers):
        rooms = [room for room in layer if room in house.lines]
        sizes = [90 + 250 * house.lines[room] / largest for room in rooms]
        x = (WIDTH - sum(sizes) - GAP * (len(rooms) - 1)) / 2
        for room, size in zip(rooms, sizes, strict=True):
            y = 10 + i * (ROW + 10)
            place[room] = (x, y, size)
            share = 100 * house.shares[room]
            boxes.append(
                f"<g><title>{escape(room)}: {house.lines[room]:,} lines, {share:.1f} %</title>"
                f'<rect x="{x:.0f}" y="{y}" width="{size:.0f}" height="{BOX}" rx="6"/>'
                f'<text x="{x + size / 2:.0f}" y="{y + 17}" class="name">{escape(room)}/</text>'
                f'<text x="{x + size / 2:.0f}" y="{y + 32}">{house.lines[room]:,} lines · {share:.0f} %</text></g>'
            )
            x += size + GAP
    paths = []
    for (a, b), count in sorted(house.arrows.items()):
        (ax, ay, aw), (bx, by, bw) = place[a], place[b]
        x1, y1, x2, y2 = ax + aw / 2, ay + BOX, bx + bw / 2, by
        bad = " bad" if (a, b) in house.upward else ""
        paths.append(
            f'<path class="arrow{bad}" stroke-width="{0.6 + min(count, 20) / 10:.1f}" d="M{x1:.0f} {y1:.0f} '
            f'C{x1:.0f} {y1 + 26:.0f} {x2:.0f} {y2 - 26:.0f} {x2:.0f} {y2:.0f}"><title>{a} → {b}: {count} files'
            "</title></path>"
        )
    height = 10 + len(house.layers) * (ROW + 10)
    style = (
        "rect{fill:#e0f2f1;stroke:#00796b}text{font:11px sans-serif;text-anchor:middle;fill:#263238}"
        ".name{font-weight:bold;font-size:13px}.arrow{fill:none;stroke:#00796b;stroke-opacity:.35}"
        ".bad{stroke:#c62828;stroke-opacity:1}@media(prefers-color-scheme:dark){rect{fill:#00403a;stroke:#4db6ac}"
        "text{fill:#eceff1}.arrow{stroke:#80cbc4}}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    title = "<title>The rooms of the package, from the command line down to the core</title>"
    return f"{head}{title}<style>{style}</style>{''.join(paths)}{''.join(boxes)}</svg>\n"


def faults(house: House) -> list[str]:
    """What is wrong with a house, a sentence each."""
    found = [f"{a} imports {b}, which is not below it" for a, b in house.upward]
    if house.circle:
        found.append("modules import each other in a circle: " + " → ".join(house.circle))
    room, share = next(iter(house.shares.items()))
    if share > LARGEST_SHARE + 0.005:  # "about"
        found.append(f"{room} holds {100 * share:.1f} % of the lines, more than {100 * LARGEST_SHARE:.0f} %")
    return found


def main() -> None:
    """Check, print, draw."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--root", type=Path, default=Path(__file__).parents[2])
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    house = look(chosen.root)
    for room, share in house.shares.items():
        below = [b for a, b in house.arrows if a == room]
        print(f"{room:12} {house.lines[room]:6,} lines {100 * share:5.1f} %   → {', '.join(sorted(below)) or '–'}")
    print(
        f"{sum(house.lines.values()):,} lines, {len(house.arrows)} arrows between rooms, {len(house.upward)} upward, "
        f"{'a circle' if house.circle else '0 circles'}"
    )
    if chosen.out is not None:
        chosen.out.write_text(draw(house), encoding="utf-8")
    if found := faults(house):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
