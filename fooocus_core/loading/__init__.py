"""Files on disk become modules in memory; knows nothing of prompts, sampling or pictures."""
