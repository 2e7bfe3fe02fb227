"""Benchmark scenarios, latency statistics and the yardstick."""
