"""Pictures to latents and back; knows nothing of prompts or sampling."""
