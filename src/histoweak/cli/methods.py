"""`histoweak methods`: what can be run."""

from rich.console import Console
from rich.table import Column, Table


def methods() -> None:
    """List methods, their papers and recipes."""
    from histoweak.methods import METHODS
    from histoweak.recipes import list_recipes

    table = Table("method", Column("what it is", overflow="fold"), "source")
    # One to a line: a name that is cut short cannot be typed.
    table.add_column("recipes", no_wrap=True)
    for name, spec in METHODS.items():
        table.add_row(name, spec.title, spec.paper, "\n".join(list_recipes(name)), end_section=True)
    Console().print(table)
