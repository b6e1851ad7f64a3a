"""Intensity normalization: scales from source units to [-1, 1] and back."""
