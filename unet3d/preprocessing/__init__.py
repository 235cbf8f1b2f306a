"""From a data set to its preprocessed store: cropped, resampled, normalised and checksummed."""
