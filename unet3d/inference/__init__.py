"""From a trained run to segmentations: sliding window, label maps and files."""
