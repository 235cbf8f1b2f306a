"""What a sweep has found: configurations compared, in numbers and in words."""
