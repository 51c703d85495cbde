"""Recommendation engine of a replica: releases as arms, recent feedback, a compute thread and fallbacks."""
