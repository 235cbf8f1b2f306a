"""A trained network for other programs: SavedModel, ONNX and MLflow."""
