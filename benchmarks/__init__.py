"""Reproducible measurements, each printed by one command."""
