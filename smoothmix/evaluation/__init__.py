"""Errors on clean images."""
