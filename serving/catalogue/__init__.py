"""What the items are at run time: added, changed, hidden, filtered; and the rules on lists."""
