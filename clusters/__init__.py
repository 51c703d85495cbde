"""Clusters a search runs on: this machine, a Ray cluster that is already there, or rented pods.

Flow: cluster.yaml -> `spec` -> a `Provider`'s `quote` -> `rent` (machines reachable by SSH) -> `bringup`
(code sent once, Ray with token auth on every node) -> `watch` (log, heartbeat, fetch) -> `release` (nothing
left running, dollars compared). `launch.launch_search` is the whole of it; `python -m clusters` is each step
by hand. The package imports nothing of ours, so that it can be read, and trusted with money, by itself.
"""
