"""Prepared slices on disk: their files, their manifest and how subjects are read from them."""
