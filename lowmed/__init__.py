"""Fine-tune medical vision-language models on one GPU, and know whether the result is real."""

__version__ = "0.1.0"
