"""python -m dinar_live.export.synthetic ASSETS OUT: write training data."""

from .generate import main

main()
