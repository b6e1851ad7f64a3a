"""Training batches of prepared slices, in TensorFlow operations only."""
