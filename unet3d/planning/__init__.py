"""What to train with: patch, batch size and spacing that fit the data and the memory."""
