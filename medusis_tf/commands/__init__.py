"""The commands of `medusis`, one module each."""
