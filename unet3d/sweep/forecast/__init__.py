"""What a sweep will take, before it begins and while it runs."""
