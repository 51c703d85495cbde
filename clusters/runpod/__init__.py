"""RunPod through its REST v2 alone: v1 and GraphQL are on their way out, and the `runpod` package speaks
those.
"""
