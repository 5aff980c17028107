"""`python -m zmartd` is `zmartd`."""

from zmartd.cli import main

main(prog_name="zmartd")
