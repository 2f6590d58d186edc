"""The story of each feature: what is done in which order. Computes nothing itself."""
