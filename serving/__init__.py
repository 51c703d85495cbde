"""Ray Serve hosts a release: recommendations, experiments, drift, roll-outs. Imports only recsys."""
