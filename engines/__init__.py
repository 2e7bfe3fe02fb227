"""Engines that run a renderer network."""
