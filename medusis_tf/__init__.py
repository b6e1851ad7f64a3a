"""medusis_tf: unsupervised semantic synthesis of MR slices from CT label maps."""
