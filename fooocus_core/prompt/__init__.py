"""Text in, text out: styles, wildcards, arrays, LoRA tags and weights of a prompt. No model."""
