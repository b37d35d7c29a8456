"""Small pieces of SVG, escaped; sized so that they are readable at the width of a phone."""

from markupsafe import Markup

from histoweak.report.text import clean

WIDTH = 340.0
INK = "#1f2328"
FAINT = "#d9dce1"

Color = tuple[int, int, int]


def tag(name: str, *content: str, **attributes: object) -> Markup:
    """An element; text and attribute values are cleaned and escaped.

    A trailing underscore of an attribute's name is dropped and inner ones become hyphens:
    `class_="axis"`, `stroke_width=2`.
    """
    pairs = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
    )
    inner = Markup("").join(c if isinstance(c, Markup) else clean(c) for c in content)
    return Markup("<{}{}>{}</{}>").format(name, pairs, inner, name)


def drawing(
    title: str, description: str, height: float, *content: str, width: float = WIDTH
) -> Markup:
    """A whole picture, with its name and meaning for readers who do not see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *content,
        class_="chart",
        role="img",
        viewBox=f"0 0 {width:g} {height:g}",
        aria_label=f"{title}. {description}",
    )


def rgb(color: Color) -> str:
    """Colour as an attribute value."""
    return f"rgb({color[0]},{color[1]},{color[2]})"


def text(x: float, y: float, content: str, **attributes: object) -> Markup:
    """A line of text whose baseline starts at (x, y)."""
    return tag("text", content, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def rect(x: float, y: float, width: float, height: float, **attributes: object) -> Markup:
    """A filled rectangle."""
    return tag("rect", x=x, y=y, width=max(width, 0.0), height=height, **attributes)


def whisker(low: float, high: float, y: float, half: float = 4.0) -> Markup:
    """A horizontal interval with end ticks, at pixels `low` to `high`."""
    strokes = ((low, y, high, y), (low, y - half, low, y + half), (high, y - half, high, y + half))
    return Markup("").join(line(*s, stroke=INK, stroke_width=1.3) for s in strokes)


# Outlines of the eight markers within -1..1: classes differ by shape as well as by colour.
_MARKERS = (
    "M0 -1A1 1 0 1 1 0 1A1 1 0 1 1 0 -1Z",
    "M-.9 -.9H.9V.9H-.9Z",
    "M0 -1.1L1.05 .85H-1.05Z",
    "M0 -1.25L1.1 0L0 1.25L-1.1 0Z",
    "M-.4 -1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "M0 1.1L1.05 -.85H-1.05Z",
    "M-.55 -1H.55L1.1 0L.55 1H-.55L-1.1 0Z",
    "M-1.1 0A1.1 1.1 0 0 1 1.1 0Z",
)


def marker(index: int, x: float, y: float, size: float, color: Color) -> Markup:
    """The sign of class `index`, centred at (x, y)."""
    return tag(
        "path",
        d=_MARKERS[index % len(_MARKERS)],
        transform=f"translate({x:.1f} {y:.1f}) scale({size:g})",
        fill=rgb(color),
        stroke=INK,
        stroke_width=round(0.8 / size, 3),
    )


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else clean(value)
