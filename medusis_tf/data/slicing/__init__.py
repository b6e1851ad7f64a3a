"""Slices of a volume on a fixed pixel grid, and the way back to voxels."""
