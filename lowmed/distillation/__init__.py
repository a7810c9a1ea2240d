"""Distillation with rejection sampling: keep the completions that are right, and write their reasoning as explanations.

RFT (Yuan et al., arXiv 2308.01825) samples completions of the training questions and keeps those that are right and
differ. STaR (Zelikman et al., arXiv 2203.14465) also requests reasoning with the gold answer shown where none
is right.
"""
