"""The messages: what they hold, and their bytes. docs/protocol.md is the specification."""
