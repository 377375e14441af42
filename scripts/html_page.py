"""Report pages: one HTML file that needs no other, no script and no network, and fits a laptop and a phone.

Whatever is no `Markup` is text and escaped: so use `Markup("<b>{}</b>").format(text)`, never an f-string.
"""

import base64
import io
import warnings
from collections.abc import Iterable, Sequence

from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure

HTML = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
PAGE = HTML.from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 80rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere }
h2 { margin: 2rem 0 .5rem; padding-top: .5rem; border-top: 1px solid #ddd }
h3 { font-size: 1rem; margin: .5rem 0 }
p, li, figcaption { max-width: 50rem }
nav a { display: inline-block; margin-right: 1rem }
figure { margin: 0 }
figcaption, small { color: #555 }
img { width: 100%; height: auto }
mark { background: #ffd6d6; -webkit-box-decoration-break: clone; box-decoration-break: clone }
summary { font-weight: 600; cursor: pointer; margin: .6rem 0 }
.grid { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)) }
@media (min-width: 48rem) { .wide { grid-column: span 2 } }
.table { overflow: auto; max-height: 32rem; margin: 1rem 0; overflow-wrap: normal }
table { border-collapse: collapse }
th { position: sticky; top: 0; background: #f3f3f3; text-align: left }
td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }
@media (max-width: 40rem) { table { font-size: 13px } td, th { padding: .2rem .3rem } }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ lead }}</p>
<nav>
{% for heading, _ in sections %}
<a href="#section-{{ loop.index }}">{{ heading }}</a>
{% endfor %}
</nav>
{% for heading, parts in sections %}
<h2 id="section-{{ loop.index }}">{{ heading }}</h2>
{% for part in parts %}
{{ part if part is escaped else "<p>%s</p>"|safe|format(part) }}
{% endfor %}
{% endfor %}
</body>
</html>
""")
TABLE = HTML.from_string("""\
<div class="table" tabindex="0"><table>
<thead><tr>
{% for cell in header %}
<th{% if loop.index0 >= texts %} class="number"{% endif %}>{{ cell }}</th>
{% endfor %}
</tr></thead>
<tbody>
{% for row in rows %}
<tr>
{% for cell in row %}
<td{% if loop.index0 >= texts %} class="number"{% endif %}>{{ "{:,}".format(cell) if cell is integer else cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table></div>
""")


def page(title: str, lead: str, sections: Sequence[tuple[str, Iterable[str]]]) -> str:
    """The whole page. `sections`: a heading each, and the parts below it; a part that is text is a paragraph."""
    return PAGE.render(title=title, lead=lead, sections=sections)


def table(header: Sequence[str], rows: Iterable[Sequence[object]], texts: int = 1) -> Markup:
    """A table that scrolls inside itself. The first columns, `texts` of them, hold text, the others numbers."""
    return Markup(TABLE.render(header=header, rows=rows, texts=texts))


def image(content: bytes, alt: str) -> Markup:
    """A PNG, embedded."""
    data = base64.b64encode(content).decode()
    return Markup('<img alt="{}" src="data:image/png;base64,{}">').format(alt, data)


def plot(title: str, content: bytes, caption: str, wide: bool = False) -> Markup:
    """A PNG between a title and a caption; as wide as two in a grid where there is room."""
    figure = Markup('<figure class="{}"><h3>{}</h3>{}<figcaption>{}</figcaption></figure>')
    return figure.format("wide" if wide else "", title, image(content, title), caption)


def grid(parts: Iterable[str]) -> Markup:
    """Parts side by side, as many as the screen is wide enough for."""
    return Markup('<div class="grid">{}</div>').format(Markup("\n").join(parts))


def literal(text: str) -> str:
    """Text of the data for a plot: matplotlib takes what stands between two dollar signs for a formula."""
    return text.replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure, sharp on screens of two device pixels a pixel."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A character that the font lacks becomes a box.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(buffer, format="png", dpi=220)
    return buffer.getvalue()
