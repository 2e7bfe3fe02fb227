"""Readers of other people's files that execute nothing: numpy archives, pickles, torch archives."""
