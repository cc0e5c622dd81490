"""`python -m i2i`."""

from i2i.cli import main

main()
