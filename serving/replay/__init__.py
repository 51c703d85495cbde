"""The newest ratings, which no model has seen, as live traffic: what people did, not made-up clicks."""
