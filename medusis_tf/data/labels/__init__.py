"""Label maps: class ids by name, tissue classes of a CT, body masks."""
