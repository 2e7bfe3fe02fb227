"""Poses, cameras and the frame pipeline."""
