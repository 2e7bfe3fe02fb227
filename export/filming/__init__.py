"""A film of a person who turns round -> a capture for `dinar fit`."""
