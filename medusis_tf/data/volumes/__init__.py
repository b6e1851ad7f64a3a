"""Volumes in memory and on disk: NIfTI, DICOM and PNG readers, grids, NIfTI writer."""
