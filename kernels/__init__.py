"""LBS, rasterization, UV gather and compositing on the CPU."""
