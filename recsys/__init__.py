"""The science: ratings, models, training, ensembles, releases.

Imports nothing of search, serving or clusters, and no Ray, Optuna, MLflow or FastAPI.
"""
