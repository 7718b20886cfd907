"""Where tables are printed."""

from rich.console import Console


def console_for_tables(width: int = 120) -> Console:
    """Of the terminal's width; wide enough for a table where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=width)
