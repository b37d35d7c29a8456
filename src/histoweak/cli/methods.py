"""`histoweak methods`: what can be run."""

from rich.console import Console
from rich.table import Table


def methods() -> None:
    """List methods, their papers and recipes."""
    from histoweak.methods import METHODS
    from histoweak.recipes import list_recipes

    table = Table("method", "what it is", "source", "recipes")
    for name, spec in METHODS.items():
        table.add_row(name, spec.title, spec.paper, ", ".join(list_recipes(name)))
    Console().print(table)
