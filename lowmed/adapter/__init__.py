"""LoRA adapters as any trainer writes them: read, checked and brought to today's names, without torch."""
