"""From the owner's formula to the full model, one change at a time, measured: ``python -m recsys.ladder``."""
