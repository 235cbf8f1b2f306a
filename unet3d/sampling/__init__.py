"""From the store to training patches: split, targets, patch stream and augmentation."""
