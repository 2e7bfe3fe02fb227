"""Avatars fitted to a capture: mesh offsets from silhouettes, texture from the images, a light renderer
network on top."""
