"""Deformable registration of a patient's CT onto their MR, and its quality."""
