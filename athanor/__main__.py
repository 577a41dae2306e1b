"""`python -m athanor` is the same as `athanor`."""

from athanor.cli import main

main()
