"""From ended trials to what a run leaves: members chosen, blended, judged once, packed."""
