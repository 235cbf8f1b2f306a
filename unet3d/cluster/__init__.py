"""Training and preprocessing on a Ray cluster: worker groups, restarts and resources."""
