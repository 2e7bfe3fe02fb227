"""Avatar bundles, rigs and body models."""
