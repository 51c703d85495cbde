"""What is asked: a plan, templates, the ratings that --data names."""
