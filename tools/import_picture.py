"""Draw which package imports which, from the exported sources, into the docs and as text.

`python tools/import_picture.py` writes nbs/guides/imports.svg; `--check` fails when it is old.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crypto_anomaly"
PICTURE = ROOT / "nbs/guides/imports.svg"
ORDER = [p.name.split("_", 1)[1] for p in sorted((ROOT / "nbs").glob("[0-9]*")) if p.is_dir()]
ROW, LEFT, WIDTH = 46, 24, 720
CSS = """
text { font: 14px sans-serif; fill: #1f2937 }
.count { font-size: 11px; fill: #6b7280 }
rect { fill: #eef2ff; stroke: #6366f1 }
path { fill: none; stroke: #6366f1; opacity: .55 }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb } .count { fill: #9ca3af } rect { fill: #1e1b4b }
}
"""


def package_of(path: Path, node: ast.ImportFrom) -> str | None:
    """The package of ours that an import statement in `path` names; None for others."""
    here = path.relative_to(PACKAGE).parts[0]
    module = node.module or ""
    if node.level == 2:
        return module.split(".")[0]
    if node.level == 1:
        return here
    if node.level == 0 and module.startswith("crypto_anomaly."):
        return module.split(".")[1]
    return None


def imports() -> Counter[tuple[str, str]]:
    """How many modules of one package import from another: (importer, imported) -> modules."""
    found: Counter[tuple[str, str]] = Counter()
    for path in sorted(PACKAGE.glob("*/*.py")):
        here = path.relative_to(PACKAGE).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        packages = {package_of(path, n) for n in nodes}
        found.update((here, p) for p in packages if p in ORDER and p != here)
    return found


def arc(importer: int, imported: int, modules: int) -> str:
    """One curve at the right of the boxes, as thick as many modules import."""
    x, low, high = LEFT + 210, 24 + importer * ROW, 24 + imported * ROW
    bend = x + 40 + 42 * abs(importer - imported)
    thick = 1 + modules / 3
    title = f"<title>{ORDER[importer]} imports {ORDER[imported]} in {modules} modules</title>"
    curve = f"M{x},{low} C{bend},{low} {bend},{high} {x},{high}"
    return f'<path d="{curve}" stroke-width="{thick:.1f}">{title}</path>'


def box(index: int, name: str) -> str:
    """The box of one package with the number of its modules."""
    y = 8 + index * ROW
    modules = len([p for p in (PACKAGE / name).glob("*.py") if p.stem != "__init__"])
    right = f'x="{LEFT + 198}" y="{y + 21}" text-anchor="end"'
    return (
        f'<rect x="{LEFT}" y="{y}" width="210" height="32" rx="6"/>'
        f'<text x="{LEFT + 12}" y="{y + 21}">{name}</text>'
        f'<text class="count" {right}>{modules} modules</text>'
    )


def picture() -> str:
    """The whole drawing as SVG."""
    counts = imports()
    index = {name: i for i, name in enumerate(ORDER)}
    wrong = [(a, b) for a, b in counts if index[a] < index[b]]
    if wrong:
        raise SystemExit(f"These packages import a later one: {wrong}; move the code.")
    arcs = [arc(index[a], index[b], n) for (a, b), n in sorted(counts.items())]
    boxes = [box(i, name) for i, name in enumerate(ORDER)]
    height = 8 + len(ORDER) * ROW
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
            f"<style>{CSS}</style>",
            *arcs,
            *boxes,
            "</svg>\n",
        ]
    )


def main() -> int:
    """Write the picture, or compare it with the one that is there."""
    drawn = picture()
    if "--check" in sys.argv:
        if PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn:
            return 0
        print(f"{PICTURE.relative_to(ROOT)} is old: run 'make imports' and commit.")
        return 1
    PICTURE.write_text(drawn, encoding="utf-8")
    for (importer, imported), modules in sorted(imports().items()):
        print(f"{importer:>10} -> {imported:<10} {modules} modules")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
