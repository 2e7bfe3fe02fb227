"""The frame pipeline on an NVIDIA GPU. Importing this loads no CUDA library."""
