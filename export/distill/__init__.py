"""A light renderer learned from a slow one: poses and cameras for the teacher, its pictures as a capture."""
