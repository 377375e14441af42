"""Text on a report page stays text, whatever is in it."""

from markupsafe import Markup

from scripts.html_page import grid, image, page, plot, table

NASTY = '<script>alert("x")</script>'


def test_everything_but_markup_is_escaped() -> None:
    parts = [
        NASTY,
        table((NASTY,), [(NASTY,)]),
        grid([plot(NASTY, b"", NASTY), NASTY]),
        image(b"", NASTY),
        Markup("<hr>"),
    ]
    written = page(NASTY, NASTY, [(NASTY, [*parts, Markup("<hr>")])])
    assert "<script" not in written and "<hr>" in written
    assert "<p>&lt;script&gt;" in written and "<td>&lt;script&gt;" in written


def test_numbers_of_a_table_stand_at_the_right() -> None:
    written = table(("split", "label", "posts"), [("train", "SOFT", 1234)], texts=2)
    assert "<td>SOFT</td>" in written and '<td class="number">1,234</td>' in written
