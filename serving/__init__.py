"""Serves releases with Ray Serve: recommendations, experiments, drift, roll-outs. Imports only recsys."""
