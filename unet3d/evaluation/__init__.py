"""How well a segmentation agrees with the truth: overlap, surfaces, lesions, and result tables."""
