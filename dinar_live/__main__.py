"""`python -m dinar_live`, the same as `dinar`."""

from dinar_live.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
