"""The command line: a thin layer of Typer and Rich over the library."""
