"""The search on Ray: a cluster to run on, Tune's loop over it, pruning."""
