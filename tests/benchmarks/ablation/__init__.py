"""Ablation: from the plan's formula to the full model, one change at a time."""
