"""The commands of ``python -m serving``: each module has ``add_arguments(parser)`` and ``run(options)``."""
