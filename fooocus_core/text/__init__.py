"""Words become embeddings; knows nothing of pictures or sampling."""
