"""From the configured volumes to prepared slices."""
