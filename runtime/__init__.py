"""What plays an avatar: body and bundle, renderer, streaming, motion, command line. Imports no torch."""
