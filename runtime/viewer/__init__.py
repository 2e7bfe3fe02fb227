"""The page to watch and its gateway."""
