"""The `dinar` command: one module per verb."""
