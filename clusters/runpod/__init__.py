"""RunPod through its REST v2 alone: v1 and GraphQL are being retired, and the `runpod` package uses
those.
"""
