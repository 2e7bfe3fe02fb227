"""Offline avatar makers (photo projection needs no torch, everything else does)."""
