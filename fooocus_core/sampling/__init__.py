"""From noise to a finished latent: levels, samplers, guidance. Knows no prompts and no files."""
