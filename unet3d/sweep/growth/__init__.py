"""Trials that go on with more devices, or give some back."""
