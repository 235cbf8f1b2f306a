"""`unet3d view`: a case and its segmentations as a page or an animation."""
