"""Distributed training and hyper-parameter search for 3D medical image segmentation."""
