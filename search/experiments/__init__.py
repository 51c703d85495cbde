"""The owner's experiment manager: named trainings from templates, run, listed, compared and reviewed."""
