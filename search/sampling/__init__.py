"""What to try next: the order of trials, the bounded space, Optuna's samplers."""
