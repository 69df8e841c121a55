"""Measurements that anyone can repeat: ``python -m benchmarks.NAME``; what they gave stands in README.md."""
