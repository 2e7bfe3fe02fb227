"""What one photo does not show: a small network over the atlas completes the person's surface and
colours."""
