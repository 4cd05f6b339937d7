"""Pieces of a page of HTML that needs no network: text, tables, pictures, charts.

Every name that comes from the data is escaped. Charts are SVG with transparent ground and mid-grey lines, so that
they read on a light page and on a dark one.
"""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from penultimate.imaging.crops import Pixels

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --ground: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #f0f6fc; --soft: #9198a1; --line: #3d444d; --ground: #0d1117; } }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
       max-width: 1100px; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
.answer { font-size: 1.25rem; font-weight: 600 }
.scroll { overflow-x: auto }
table { border-collapse: collapse }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } td { overflow-wrap: break-word }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); gap: 1rem }
.thumbnails { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem;
              font-size: .85rem }
.thumbnails figcaption { overflow-wrap: anywhere }
img, svg { max-width: 100%; height: auto } figure { margin: 0 } figcaption, .soft { color: var(--soft) }
pre { overflow-x: auto; font-size: .85rem }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(heading: str, *content: str) -> str:
    """A heading (plain text) over pieces of HTML."""
    return f"<h2>{escape(heading)}</h2>\n" + "\n".join(content)


def paragraph(text: str, css: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{css}">{escape(text)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of plain text cells."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def pair(*pieces: str) -> str:
    """Pieces of HTML side by side, or below each other on a narrow screen."""
    return '<div class="pair">' + "".join(f"<div>{piece}</div>" for piece in pieces) + "</div>"


def links(targets: Mapping[str, str]) -> str:
    """A list of links: what each says, and the page beside this one that it leads to."""
    items = (f'<li><a href="{escape(to, quote=True)}">{escape(text)}</a></li>' for text, to in targets.items())
    return f"<ul>{''.join(items)}</ul>"


def picture(path: Path, caption: str) -> str:
    """A PNG file, embedded."""
    return _figure_of(path.read_bytes(), caption)


def _figure_of(png: bytes, caption: str) -> str:
    data, text = base64.b64encode(png).decode(), escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


def thumbnails(tiles: Iterable[tuple[Pixels, str]]) -> str:
    """Small pictures, uint8 (S, S, 3), with captions, as many in a row as fit."""
    figures = []
    for pixels, caption in tiles:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        figures.append(_figure_of(stream.getvalue(), caption))
    return '<div class="thumbnails">' + "".join(figures) + "</div>" if figures else paragraph("none", "soft")


def tree(values: Mapping[str, object]) -> str:
    """Nested numbers as a table; a mapping is a row of `name: value` pairs."""

    def cell(value: object) -> object:
        if isinstance(value, Mapping):
            return ", ".join(f"{key} {inner}" for key, inner in value.items())
        return value

    return table(["", ""], [(name.replace("_", " "), cell(value)) for name, value in values.items()])


def preformatted(text: str) -> str:
    """Plain text as it stands."""
    return f"<pre>{escape(text)}</pre>"
