"""`python -m pairkit` is `pairkit`."""

from pairkit.cli import main

main()
