"""OpenVINO, the engine on machines without an NVIDIA GPU."""
