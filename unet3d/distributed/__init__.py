"""What training on several workers stands on: rank, job folder, strategy and stop requests."""
