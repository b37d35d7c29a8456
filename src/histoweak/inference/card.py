"""The model card: what a saved model is, in words, beside its weights."""

import html
import json
from collections.abc import Mapping
from typing import Any

_CARD = """# {title}

Labels every pixel of an H&E image with one of {n} tissue classes. Made with
histoweak {version}.

| | |
| --- | --- |
{facts}

## How it was trained

{provenance}

## Figures

{figures}

## Intended use and limits

For research. It is not a medical device and must not decide about a patient. It knows the stain,
scanner and tissue of the images it was trained on; on others it can be wrong without any sign of
it, so check it on annotated images of your own first (`histoweak evaluate`). Every pixel that is
not white background gets one of the classes above, also tissue that is none of them.

## How to load it

```python
from histoweak import load_model

model = load_model("path/to/this/folder")
mask = model.predict(image, mpp={mpp})  # image: (H, W, 3) uint8 RGB; mask.array: (H, W) uint8
```

or `histoweak predict path/to/this/folder IMAGES --out DIR`. The folder holds the weights
(`model.safetensors`) and their description (`config.json`); nothing in it can run code.
"""


def model_card(description: Mapping[str, Any], figures: Mapping[str, Any] | None = None) -> str:
    """Write the model card as Markdown.

    Args:
        description: plain data of `config.json`.
        figures: name -> value of what was measured, and on what.
    """
    mpp, net = description["mpp"], description["net"]
    architecture = " with encoder ".join(
        str(net[key]) for key in ("architecture", "encoder") if key in net
    )
    facts = {
        "Kind": description["kind"],
        "Classes (mask value)": ", ".join(
            f"{name} ({i})" for i, name in enumerate(description["classes"]["names"])
        ),
        "Working scale": "that of the training images" if mpp is None else f"{mpp} microns/pixel",
        "Network": architecture,
        "White background": "not treated" if description["white"] is None else "left out (255)",
        "Weights (SHA-256 of the values)": description["weights"],
    }
    unknown = "Nothing was recorded."
    return _CARD.format(
        title=f"Tissue {_plain(description['kind'])}",
        n=len(description["classes"]["names"]),
        version=_plain(description["histoweak"]),
        facts=_rows(facts),
        provenance=_table(description["provenance"]) or unknown,
        figures=_table(figures or {}) or "None were recorded with the model.",
        mpp=mpp,
    )


def _table(values: Mapping[str, Any]) -> str:
    return f"| | |\n| --- | --- |\n{_rows(values)}" if values else ""


def _rows(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {_plain(key)} | {_plain(value)} |" for key, value in values.items())


def _plain(value: Any) -> str:
    """Text that is only text, whatever renders the Markdown."""
    if isinstance(value, float):
        value = f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    escaped = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\|`*_[]#" else c for c in escaped)
