"""Motion files, retargeting, authored clips."""
